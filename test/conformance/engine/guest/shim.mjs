/**
 * The guest of the engine conformance suite: in the shim's place, it does what it is told over the sandbox's stream and
 * answers with what it sees. One JSON document a line, both ways.
 */
import { execFileSync, spawn } from 'node:child_process'
import { fstatSync, readFileSync, readdirSync, statfsSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { hostname } from 'node:os'
import { createInterface } from 'node:readline'

const commands = {
  hello: () => ({ pid: process.pid, uid: process.getuid(), hostname: hostname(), descriptors: readdirSync('/proc/self/fd').length }),
  read: ({ path }) => readFileSync(path, 'utf8'),
  list: ({ path }) => readdirSync(path),
  write: ({ path, text }) => writeFileSync(path, text),
  free: ({ path }) => statfsSync(path),
  open: ({ fd }) => {
    fstatSync(fd)
  },
  run: ({ program, args }) => execFileSync(program, args, { encoding: 'utf8' }),
  print: ({ fd, text }) => writeFileSync(fd, text),
  // A grandchild in a session of its own, whose parent is gone.
  orphan: () => {
    spawn('/bin/sh', ['-c', '(setsid sleep 1000 &) ; exit 0'], { stdio: 'ignore' }).unref()
  },
  eat: ({ mib }) => {
    globalThis.eaten = Buffer.alloc(mib * 1024 * 1024, 1)
  },
  exit: ({ code }) => process.exit(code),
  kill: ({ signal }) => process.kill(process.pid, signal),
  ignore: ({ signal }) => {
    process.on(signal, () => {})
  },
}

function serve(fd) {
  const stream = new Socket({ fd })
  stream.on('error', () => {})
  createInterface({ input: stream }).on('line', (line) => {
    const { command, ...options } = JSON.parse(line)
    let answer
    try {
      answer = { value: commands[command](options) ?? null }
    } catch (error) {
      answer = { error: error.code ?? String(error) }
    }
    stream.write(`${JSON.stringify(answer)}\n`)
  })
  return stream
}

// As the real shims do: the second stream takes over when the first is gone.
serve(3).once('close', () => serve(4))
