import { resolve } from 'node:path'

import { settingFlags } from '../../settings.ts'
import { examples, newCommand } from '../command.ts'

/** Value placeholders for the help. */
const placeholders: Partial<Record<keyof typeof settingFlags, string>> = {
  data: 'dir',
  gateway: 'addr',
  api: 'addr',
  domain: 'name',
  'keep-warm': 'time',
  memory: 'size',
  'max-sandboxes': 'count',
  examples: 'yes|no',
}

export const command = () => {
  const server = newCommand('server').description(
    'Run the server in the foreground until Ctrl-C or SIGTERM. It needs root. Flags win over environment variables.',
  )
  for (const [flag, setting] of Object.entries(settingFlags)) {
    server.option(`--${flag} <${placeholders[flag as keyof typeof settingFlags] ?? 'value'}>`, `${setting.help} ($${setting.env}, default ${setting.default})`)
  }
  return server.addHelpText('after', examples('server', 'server --data /var/lib/hostel --gateway 0.0.0.0:8080')).action((options) => {
    const flags = Object.entries(options as Record<string, string>).map(
      ([name, value]) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}=${value}`,
    )
    // The server takes this process's place, so signals and the exit code are its own.
    process.execve!(process.execPath, [process.execPath, resolve(import.meta.dirname, '../../main.ts'), ...flags], process.env)
  })
}
