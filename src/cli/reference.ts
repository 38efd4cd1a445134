/** docs/reference/cli.md, made from the commands themselves by `npm run docs`. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings'

import { exitCodes } from './failure.ts'
import { commandTable, createProgram } from './program.ts'

const head = `# The command \`hostel\`

Made from the commands by \`node src/cli/reference.ts > docs/reference/cli.md\`; do not edit it by hand.

\`bin/hostel\` in a checkout; link it into your PATH to call it \`hostel\`: \`ln -s "$PWD/bin/hostel" /usr/local/bin/hostel\`.

## Finding the server

In this order: \`--api\` and \`--token\`; \`HOSTEL_API\` and \`HOSTEL_TOKEN\`; \`$HOSTEL_DATA/cli.json\`; \`/run/hostel/cli.json\`, which the
server that started last leaves on its machine. The files hold a token, so only the user who started the server may read them,
and the token in one is sent to no other API than the one beside it. \`HOSTEL_TENANT\` names the tenant where \`--tenant\` does not.

\`hostel completion bash|zsh|fish\` teaches a shell to complete commands, options and the names of functions.

## Output

Results go to standard output, everything else (progress, times, errors) to standard error. With \`--json\` the result is one JSON
document (for \`logs\`, one a line), and an error is \`{"error": {"code", "message", "why", "fix"}, "exitCode"}\` on standard error.
Colour appears on a terminal only, and never with \`NO_COLOR\`. What functions wrote is shown with its control characters made
visible; \`invoke\` and \`--json\` give it as it is.
\`HOSTEL_DEBUG=1\` adds the stack trace to an error.

## Exit codes

| code | meaning |
|---|---|
`

export async function renderReference(): Promise<string> {
  const rows = Object.values(exitCodes).map(({ code, meaning }) => `| ${code} | ${meaning} |\n`)
  const sections: string[] = []
  for (const name of Object.keys(commandTable)) {
    const program = await createProgram([name])
    const command = program.commands.find((candidate) => candidate.name() === name)!
    sections.push(...(command.commands.length > 0 ? command.commands.map(section) : [section(command)]))
  }
  return `${head}${rows.join('')}\n## Commands\n\n${sections.join('\n')}`
}

function section(command: CommandUnknownOpts): string {
  let text = ''
  command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 110, getOutHasColors: () => false })
  command.outputHelp()
  const names: string[] = []
  for (let at: CommandUnknownOpts | null = command; at?.parent; at = at.parent) names.unshift(at.name())
  return `### hostel ${names.join(' ')}\n\n\`\`\`\n${text.trimEnd()}\n\`\`\`\n`
}

if (import.meta.main) process.stdout.write(await renderReference())
