/** The command `hostel`: loads the command asked for, runs it, and turns every failure into words and an exit code. */
import { createProgram } from './program.ts'

// What this command starts must not inherit its compile cache (see bin/hostel).
delete process.env['NODE_COMPILE_CACHE']

// The reader of a pipe may leave (`| head`); then there is nobody to write for.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(0)
  })
}

let args = process.argv.slice(2)
// `hostel help deploy` and `hostel deploy --help` are the same.
if (args[0] === 'help') args = [...args.slice(1), '--help']
if (args.length === 0) args = ['--help']

try {
  await (await createProgram(args)).parseAsync(args, { from: 'user' })
} catch (error) {
  const { reportFailure } = await import('./report.ts')
  process.exitCode = reportFailure(error, args)
}
