/** What the Dockerfile takes from a checkout; `npm run verify-image` carries out all of it. */
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Copy, From } from 'dockerfile-ast'
import { expect, it } from 'vitest'
import { copyContext, stepsOf, valuesOf } from '../../scripts/image/build.ts'
import { root } from '../../src/config/root.ts'
import { bundleInto, expectToServe } from '../support/installed.ts'
import { aDataDirectory } from '../support/service.ts'

it('holds all that the service needs to make a video', { timeout: 120_000 }, async () => {
  const directory = aDataDirectory()
  const app = join(directory, 'app')
  copyContext(root, join(directory, 'context'))
  for (const [path, target] of copiesOf('code')) {
    const into = target.endsWith('/') ? join(target, basename(path)) : target
    cpSync(join(directory, 'context', path), join(app, into), { recursive: true })
  }
  // What the other stages give: the packages for production, and what is built.
  for (const path of productionPackages()) {
    mkdirSync(dirname(join(app, path)), { recursive: true })
    symlinkSync(join(root, path), join(app, path))
  }
  await bundleInto(join(app, 'dist'))
  cpSync(join(root, 'dist', 'dashboard'), join(app, 'dist', 'dashboard'), { recursive: true })
  await expectToServe(app, directory)
})

it('gets what the stages before the last have made', () => {
  expect(copiesOf('service')).toEqual(
    expect.arrayContaining([
      ['/app', './'],
      ['/app/node_modules', './node_modules'],
      ['/app/dist', './dist'],
    ]),
  )
})

/** Each path with where it goes. */
function copiesOf(wanted: string): [string, string][] {
  let stage: string | null = null
  return stepsOf(join(root, 'Dockerfile')).flatMap((step) => {
    if (step.getKeyword() === 'FROM') stage = (step as From).getBuildStage()
    if (step.getKeyword() !== 'COPY' || stage !== wanted) return []
    const paths = valuesOf(step as Copy)
    const target = paths.pop() ?? ''
    return paths.map((path): [string, string] => [path, target])
  })
}

/** By `--omit=dev --omit=optional`. Those within others come with them. */
function productionPackages(): string[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const packages = lock.packages as Record<string, Record<string, unknown>>
  return Object.keys(packages).filter((path) => {
    const { dev, optional, devOptional } = packages[path] ?? {}
    const isTop = path.lastIndexOf('node_modules/') === 0
    return isTop && !dev && !optional && !devOptional
  })
}
