import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join, relative, resolve } from 'node:path'

import { isName } from '../../functions/names.ts'
import { called } from '../called.ts'
import { examples, jsonOption, newCommand } from '../command.ts'
import { CliFailure, usageFailure } from '../failure.ts'
import { print, printJson } from '../output.ts'
import { closest } from '../../manifest/closest.ts'
import { templates } from '../templates.ts'

export const command = () =>
  newCommand('init')
    .description(`Write a small function to start from. What is there already is never overwritten.\nRuntimes: ${Object.keys(templates).join(', ')}.`)
    .argument('[dir]', 'where; made when it is not there', '.')
    .option('--runtime <runtime>', 'in which language', 'nodejs24')
    .addOption(jsonOption())
    .addHelpText('after', examples('init my-function', 'init --runtime python3 my-function'))
    .action((dir, options) => {
      const template = templates[options.runtime]
      if (!template) {
        const close = closest(options.runtime, Object.keys(templates))
        throw usageFailure(
          `there is no template for runtime "${options.runtime}"`,
          close ? `Did you mean ${close}?` : `There are ${Object.keys(templates).join(' and ')}.`,
        )
      }
      const directory = resolve(dir)
      const name = isName(basename(directory)) ? basename(directory) : 'my-function'
      mkdirSync(directory, { recursive: true })
      try {
        // One file a template, made exclusively: either it is new or nothing happens.
        writeFileSync(join(directory, template.file), template.text(name), { flag: 'wx', mode: template.mode ?? 0o644 })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
        throw new CliFailure('failure', `${join(dir, template.file)} is there already`, {
          why: 'init never overwrites',
          fix: 'Name another directory, or deploy what is there with `hostel deploy`.',
          cause: error,
        })
      }
      if (options.json) return printJson({ directory, runtime: options.runtime, files: [template.file] })
      const shown = relative(process.cwd(), directory)
      print(`Wrote ${join(dir, template.file)} for ${options.runtime}. Next:`)
      const place = `${shown === '' ? '' : ` ${shown}`}${name === basename(directory) ? '' : ` --name ${name}`}`
      print(`  ${called} deploy${place}`)
      print(`  ${called} invoke ${name}`)
      print(`or, for a deploy on every save: ${called} dev${place}`)
    })
