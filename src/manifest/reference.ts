/** docs/reference/hostel-yaml.md, made from the keys by `npm run docs`. */
import { functionKeys, keysToCome } from './keys.ts'
import { SOURCE_HELP } from './schema.ts'

const head = `<!-- Made from src/manifest by \`npm run docs\`: change it there. -->
# hostel.yaml

Names the functions of a directory, so that \`hostel deploy\` there needs no options, and what is deployed is what the file says.

\`\`\`yaml
# yaml-language-server: $schema=http://127.0.0.1:8081/hostel.schema.json
functions:
  shop:
    source: ./shop
    memory: 512MiB
    timeout: 10s
    env:
      CURRENCY: EUR
  nightly:
    source: ./jobs
    handler: nightly.py:run
    concurrency: 1
\`\`\`

The first line gives editors with a YAML language server (VS Code's YAML extension, Neovim, JetBrains) completion and checks while you type. A
running server answers the schema at its control API; the same file is [hostel.schema.json](hostel.schema.json), and a path to it does as well.

## Keys of a function

A function is named as everywhere: lower-case letters, digits and single hyphens. What is left out has its default, also when another
version had something else: the file is the whole truth.

`

const tail = `
At the top, beside \`functions\`, stand only keys that begin with \`x-\`, to define anchors at:

\`\`\`yaml
x-common: &common
  REGION: eu
functions:
  shop: { source: ./shop, env: { <<: *common, CURRENCY: EUR } }
  stock: { source: ./stock, env: *common }
\`\`\`

Any other key is refused with its line, and so are those that Hostel does not support yet: KEYS_TO_COME.

## Deploying

\`\`\`console
$ hostel deploy --plan        # what would change; exit code 8 when something would
$ hostel deploy               # the same, a question, and then it is done
$ hostel deploy --yes         # without the question, for scripts
$ hostel deploy --only shop   # one of the functions
\`\`\`

A second deploy says that there is nothing to do. Code is compared by its digest, so that only what changed is uploaded; \`hostel.yaml\` itself is no
part of the code. Values of environment variables are compared on the server and never shown: the plan says which names change.

Functions are deployed one after the other, in the file's order. When one does not start, its live version stays, those behind it are left as they
are, and the next deploy goes on from there.

From a pipeline it takes a token with the scope \`deploy\` and no more (\`hostel token create\`):

\`\`\`console
$ export HOSTEL_API=https://hostel.example.com:8081 HOSTEL_TOKEN=… HOSTEL_TENANT=shop
$ hostel deploy --yes
\`\`\`

Functions of the tenant that the file does not name are mentioned and stay. \`--prune\` removes them, after a question that Enter alone answers with no.
`

export function renderManifestPage(): string {
  const rows: [string, string, string][] = [
    ['source', SOURCE_HELP, './shop'],
    ...Object.entries(functionKeys).map(([name, { help, example }]): [string, string, string] => [name, help, example]),
  ]
  const table = [
    '| Key | Meaning | Example |',
    '| --- | --- | --- |',
    ...rows.map(([name, help, example]) => `| \`${name}\` | ${capital(help)} | \`${example}\` |`),
  ]
  const toCome = Object.keys(keysToCome)
    .map((key) => `\`${key}\``)
    .join(', ')
  return head + table.join('\n') + '\n' + tail.replace('KEYS_TO_COME', toCome)
}

function capital(text: string): string {
  return text.startsWith('`') ? text : text.charAt(0).toUpperCase() + text.slice(1)
}
