import { watch } from 'node:fs'
import { basename, dirname, relative, resolve } from 'node:path'

import { apiOption, examples, tenantOption, tokenOption } from '../command.ts'
import { connect } from '../connect.ts'
import { choose, manifestTarget } from '../deploy-manifest.ts'
import { develop, explainFor } from '../developing.ts'
import type { Developed } from '../developing.ts'
import { loadManifest, locatedFailure } from '../manifest-file.ts'
import { note } from '../output.ts'
import { failureOf, printFailure } from '../report.ts'
import { manifestOf, newTargetCommand, targetOf } from '../targets.ts'

/** Editors write a file in several steps. */
const SETTLE_MS = 30

export const command = () =>
  newTargetCommand('dev')
    .description(
      'Deploy, and deploy again whenever a file is saved; show logs and errors as they come. Ctrl-C ends it, and leaves what was deployed last. ' +
        'Watched is what a deploy takes along but node_modules; with a hostel.yaml all its functions, and the file itself.',
    )
    .addOption(tenantOption())
    .addOption(apiOption())
    .addOption(tokenOption())
    .addHelpText('after', examples('dev my-function', 'dev . --env GREETING=hi', 'dev --only api'))
    .action(async (dir, options) => {
      const manifest = manifestOf(dir, options)
      const { client } = connect(options)
      const development = develop(client, options.tenant)
      if (manifest === undefined) {
        const target = targetOf(dir ?? '.', options)
        development.set([{ target, explain: explainFor(target) }])
        note(`Watching ${dir ?? 'this directory'}; Ctrl-C ends it.`)
      } else {
        development.set(await load(manifest, options.only))
        watchFile(resolve(manifest), async () => development.set(await load(manifest, options.only)))
        note(`Watching the functions of ${relative(process.cwd(), resolve(manifest))}; Ctrl-C ends it.`)
      }
    })

async function load(path: string, only: string[] | undefined): Promise<Developed[]> {
  const manifest = await loadManifest(path)
  return choose(manifest, only).map((item) => ({ target: manifestTarget(item), explain: (error) => locatedFailure(error, manifest, item) }))
}

/** Its directory is watched, since editors put a new file in the place of the old one. */
function watchFile(file: string, onChange: () => Promise<void>): void {
  let timer: NodeJS.Timeout | undefined
  watch(dirname(file), (_event, name) => {
    if (name !== basename(file)) return
    clearTimeout(timer)
    timer = setTimeout(() => void onChange().catch((error: unknown) => printFailure(failureOf(error))), SETTLE_MS)
  })
}
