/** Asking before something is changed. */
import { CliFailure } from './failure.ts'

/** Whether there is somebody at a terminal to ask. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY
}

/** `preset` is what Enter alone means. @throws CliFailure (interrupted) on Ctrl-C */
export async function confirm(question: string, preset: 'yes' | 'no'): Promise<boolean> {
  const { createInterface } = await import('node:readline')
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await new Promise((resolve, reject) => {
      prompt.once('SIGINT', () => {
        process.stderr.write('\n')
        reject(new CliFailure('interrupted', 'nothing was changed'))
      })
      // Ctrl-D
      prompt.once('close', () => resolve(false))
      prompt.question(`${question} ${preset === 'yes' ? '[Y/n]' : '[y/N]'} `, (answer) => {
        const text = answer.trim()
        resolve(text === '' ? preset === 'yes' : /^y(es)?$/i.test(text))
      })
    })
  } finally {
    prompt.close()
  }
}
