import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { NewVersion } from '../../src/api/schemas.ts'
import { functionKeys } from '../../src/manifest/keys.ts'
import { commandTable } from '../../src/cli/program.ts'
import { renderReference } from '../../src/cli/reference.ts'
import { hostel, run, temporaryDirectory } from './run.ts'
import { spawnSync } from 'node:child_process'

const wrong: [string[], RegExp][] = [
  [['dploy'], /unknown command 'dploy'[\s\S]*Did you mean deploy\?/],
  [['ls', '--jsn'], /unknown option '--jsn'[\s\S]*Did you mean --json\?[\s\S]*hostel ls --help/],
  [['rm'], /missing required argument 'function'/],
  [['describe', 'a', 'b'], /too many arguments/],
  [['invocations'], /needs a command/],
  [['sandboxes', 'list'], /unknown command 'list'/],
  [['server', '--dta', 'x'], /unknown option '--dta'[\s\S]*Did you mean --data\?/],
  [['deploy', '.', '--only', 'x'], /--only cannot be used here: there is no hostel\.yaml/],
  [['deploy', '.', '--file', 'x.yaml'], /a directory and --file cannot both say/],
  [['deploy', '.', '--prune'], /--prune needs a hostel\.yaml/],
  [['ls', '--watch', '--json'], /--watch and --json do not go together/],
  [['completion', 'tcsh'], /completion takes one of bash, zsh and fish/],
  [['deploy', '.', '--name', 'Not A Name'], /cannot name a function[\s\S]*Use --name not-a-name\./],
  [['deploy', '.', '--name', 'x', '--memory', '256'], /--memory takes an amount such as 256MiB/],
  [['deploy', '.', '--name', 'x', '--memory', '300MiB'], /--memory takes one of[\s\S]*512MiB/],
  [['deploy', '.', '--name', 'x', '--timeout', '1w'], /--timeout takes a duration/],
  [['deploy', '.', '--name', 'x', '--timeout', '16m'], /--timeout takes a time from 1ms to 15m/],
  [['deploy', '.', '--name', 'x', '--concurrency', '0'], /--concurrency takes a whole number from 1/],
  [['deploy', '.', '--name', 'x', '--auth', 'private'], /--auth takes public or token/],
  [['versions', 'rm', 'x', '1'], /removes version 1 of "x" for good[\s\S]*Add --yes\./],
  [['rollback', 'x', '--to', 'one'], /--to takes a whole number from 1/],
  [['tenants', 'set', 'x'], /there is nothing to set[\s\S]*Give --functions, --sandboxes, --memory or --requests\./],
  [['tenants', 'create', 'x', '--memory', '2GB'], /--memory takes an amount such as 256MiB/],
  [['token', 'create', 'x', '--scope', 'everything'], /Allowed choices are read, deploy, invoke, admin/],
  [['token', 'ls', '--tenant', 'x', '--all-tenants'], /--tenant and --all-tenants do not go together/],
  [['deploy', '.', '--name', 'x', '--env', '1A=secret'], /--env takes NAME=VALUE[\s\S]*got "1A=…"/],
  [['init', '--runtime', 'nodejs22'], /no template for runtime "nodejs22"[\s\S]*Did you mean nodejs24\?/],
  [['invoke', 'x', '--data', 'a', '--file', 'b'], /--data and --file cannot both be the body/],
  [['invoke', 'x', '--path', 'no-slash'], /Use --path '\/no-slash'/],
  [['invoke', 'x', '--method', 'GET /'], /--method takes an HTTP method/],
  [['invoke', 'x', '--header', 'no colon'], /--header takes NAME:VALUE/],
  [['invoke', 'x', '--header', 'a: b\r\nc: d'], /--header takes NAME:VALUE/],
]

/** All of them, `GROUP COMMAND` too. */
const commands: string[] = []
for (const name of Object.keys(commandTable)) {
  const inner = (await commandTable[name]!.load()).command().commands
  commands.push(...(inner.length === 0 ? [name] : inner.map((command) => `${name} ${command.name()}`)))
}

describe('the command line', () => {
  for (const [args, expected] of wrong) {
    it(`refuses "${args.join(' ')}" with exit code 2 and says what fits`, async () => {
      const { code, stdout, stderr } = await run(args, { env: { HOSTEL_API: 'http://127.0.0.1:9', HOSTEL_TOKEN: 'x' } })
      assert.equal(code, 2, stderr)
      assert.match(stderr, expected)
      assert.equal(stdout, '')
    })
  }

  it('answers errors as JSON when --json is given', async () => {
    const { code, stderr } = await run(['ls', '--json', '--jsn'])
    assert.equal(code, 2)
    assert.deepEqual(Object.keys(JSON.parse(stderr) as object), ['error', 'exitCode'])
  })

  it('shows help on standard output with an example for every command', async () => {
    for (const command of commands) {
      const { code, stdout, stderr } = await run([...command.split(' '), '--help'])
      assert.equal(code, 0, command)
      assert.equal(stderr, '', command)
      assert.match(stdout, new RegExp(`Usage: hostel ${command}[\\s\\S]*Examples?:\\n  \\$ \\S*hostel ${command}`))
      if (!['server', 'dev', 'completion'].includes(command)) assert.match(stdout, /--json/, command)
    }
  })

  it('shows the same help for `help COMMAND`, and the list of commands without arguments', async () => {
    assert.equal((await run(['help', 'rm'])).stdout, (await run(['rm', '--help'])).stdout)
    const bare = await run([])
    assert.equal(bare.code, 0)
    assert.match(bare.stdout, /deploy {2,}make code the live version/)
  })

  it('writes no colour into a pipe', async () => {
    const { stdout, stderr } = await run(['doctor'])
    assert.ok(!`${stdout}${stderr}`.includes('\u001B'))
  })

  it('is found through a chain of symbolic links, relative ones too', async () => {
    using directory = temporaryDirectory()
    mkdirSync(join(directory.path, 'bin'))
    symlinkSync(hostel, join(directory.path, 'direct'))
    symlinkSync('../direct', join(directory.path, 'bin', 'hostel'))
    const result = spawnSync(join(directory.path, 'bin', 'hostel'), ['--version'], { encoding: 'utf8', timeout: 20_000 })
    assert.match(result.stdout, /^\d+\.\d+\.\d+\n$/)
  })

  it('is called in hints as it was called', async () => {
    using directory = temporaryDirectory()
    symlinkSync(hostel, join(directory.path, 'hostel'))
    const hintOf = (command: string, env: Record<string, string> = {}): string => {
      const { PATH } = process.env
      return spawnSync('sh', ['-c', `${command} init --runtime nodejs24 x; ${command} ls --nope`], {
        cwd: directory.path,
        encoding: 'utf8',
        timeout: 20_000,
        env: { PATH, ...env },
      }).output.join('')
    }
    const bare = hintOf('hostel', { PATH: `${directory.path}:${process.env['PATH']}` })
    assert.match(bare, /\n {2}hostel deploy x\n[\s\S]*`hostel ls --help`/)
    const path = hintOf('./hostel')
    assert.match(path, /\.\/hostel init|is there already/)
    assert.match(path, /`\.\/hostel ls --help`/)
  })

  it('tells how to set up when the dependencies are not there', () => {
    using directory = temporaryDirectory()
    mkdirSync(join(directory.path, 'bin'))
    writeFileSync(join(directory.path, 'bin', 'hostel'), readFileSync(hostel), { mode: 0o755 })
    const result = spawnSync(join(directory.path, 'bin', 'hostel'), ['ls'], { encoding: 'utf8', timeout: 20_000 })
    assert.equal(result.status, 1)
    assert.match(result.stderr, /not set up yet[\s\S]*npm run setup/)
  })

  it('lets hostel.yaml say whatever the API takes of a version', () => {
    const fields = Object.keys(NewVersion.properties).filter((field) => field !== 'code')
    const said = Object.values(functionKeys).map(({ field }) => field)
    assert.deepEqual(said.toSorted(), fields.toSorted())
  })

  it('is documented as it is', async () => {
    const documented = readFileSync(join(import.meta.dirname, '../../docs/reference/cli.md'), 'utf8')
    assert.equal(documented, await renderReference(), 'run: npm run docs')
  })
})

describe('hostel init', () => {
  for (const [runtime, file] of [
    ['nodejs24', 'index.ts'],
    ['python3', 'main.py'],
  ] as const) {
    it(`writes ${file} for ${runtime}, and never overwrites it`, async () => {
      using directory = temporaryDirectory()
      const first = await run(['init', '--runtime', runtime, 'shop'], { cwd: directory.path })
      assert.equal(first.code, 0, first.stderr)
      assert.match(first.stdout, /hostel deploy shop\n {2}\S*hostel invoke shop/)
      const path = join(directory.path, 'shop', file)
      writeFileSync(path, 'mine')
      const second = await run(['init', '--runtime', runtime, 'shop'], { cwd: directory.path })
      assert.equal(second.code, 1)
      assert.match(second.stderr, /is there already/)
      assert.equal(readFileSync(path, 'utf8'), 'mine')
    })
  }

  it('follows no link that stands where the file would be', async () => {
    using directory = temporaryDirectory()
    symlinkSync(join(directory.path, 'elsewhere'), join(directory.path, 'index.ts'))
    const { code } = await run(['init'], { cwd: directory.path })
    assert.equal(code, 1)
    assert.throws(() => readFileSync(join(directory.path, 'elsewhere')))
  })
})
