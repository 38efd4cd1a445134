import { examples, newCommand } from '../command.ts'
import { usageFailure } from '../failure.ts'

export const command = () =>
  newCommand('completion')
    .description(
      'Print a script that teaches a shell to complete commands, options and the names of functions. Load it at every start of the shell:\n' +
        "bash: echo 'source <(hostel completion bash)' >> ~/.bashrc\n" +
        "zsh:  echo 'source <(hostel completion zsh)' >> ~/.zshrc   (behind compinit)\n" +
        'fish: hostel completion fish > ~/.config/fish/completions/hostel.fish',
    )
    .argument('<shell>', 'bash, zsh or fish')
    .argument('[words...]')
    .usage('<shell>')
    .addHelpText('after', examples('completion bash'))
    .action(async (shell, words) => {
      if (shell !== 'words') {
        const { completionScripts } = await import('../completion-scripts.ts')
        if (words.length > 0 || !Object.hasOwn(completionScripts, shell)) throw usageFailure('completion takes one of bash, zsh and fish')
        process.stdout.write(completionScripts[shell as keyof typeof completionScripts])
        return
      }
      // The scripts' own question: what may stand in the place of the last of these words?
      const { complete } = await import('../completion.ts')
      const found = await complete(words)
      const lines = typeof found === 'string' ? [`:${found}`] : found.map(({ text, help }) => (help ? `${text}\t${help.split('\n')[0]}` : text))
      process.stdout.write(lines.map((line) => `${line}\n`).join(''), () => process.exit(0))
    })
