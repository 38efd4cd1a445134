import { resolve } from 'node:path'

import { repeatedFlags, settingFlags } from '../../settings.ts'
import { collect, examples, newCommand } from '../command.ts'

/** Value placeholders for the help. */
const placeholders: Partial<Record<keyof typeof settingFlags, string>> = {
  data: 'dir',
  gateway: 'addr',
  api: 'addr',
  domain: 'name',
  'keep-warm': 'time',
  memory: 'size',
  'memory-reserve': 'size',
  'log-keep': 'time',
  'log-size': 'size',
  'log-tenant-size': 'size',
  otlp: 'url',
  'trace-ratio': 'ratio',
  'max-sandboxes': 'count',
  examples: 'yes|no',
  service: 'mapping',
  'egress-allow': 'networks',
  'egress-dns': 'addrs',
  'gateway-tls': 'addr',
  'tls-cert': 'file',
  'tls-key': 'file',
  'trusted-proxies': 'networks',
  'rate-limit-client': 'count',
  'access-log': 'file',
  'access-log-format': 'combined|json',
}

export const command = () => {
  const server = newCommand('server').description(
    'Run the server in the foreground until Ctrl-C or SIGTERM. It needs root. Flags win over environment variables.',
  )
  for (const [flag, setting] of Object.entries(settingFlags)) {
    const flags = `--${flag} <${placeholders[flag as keyof typeof settingFlags] ?? 'value'}>` as const
    const help = `${setting.help} ($${setting.env}, default ${setting.default || 'none'})`
    if (repeatedFlags.has(flag)) server.option(flags, help, collect)
    else server.option(flags, help)
  }
  return server.addHelpText('after', examples('server', 'server --data /var/lib/hostel --gateway 0.0.0.0:8080')).action((options) => {
    const flags = Object.entries(options as Record<string, string | string[]>).flatMap(([name, value]) =>
      [value].flat().map((one) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}=${one}`),
    )
    // The server takes this process's place, so signals and the exit code are its own.
    process.execve!(process.execPath, [process.execPath, resolve(import.meta.dirname, '../../main.ts'), ...flags], process.env)
  })
}
