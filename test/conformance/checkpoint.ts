/** Checkpoints with random weights, of a model that a CPU can run. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { $ } from 'zx'
import type { WanTask } from '../../src/domain/wan-tasks.ts'
import { checkpointLayouts } from '../../src/infra/installation/checkpoint.ts'
import { cacheDir, changesDir, pythonEnvironment } from './settings.ts'
import type { WanCode } from './wan-code.ts'

/** Gives its directory. Written anew when the code changes that says what is in it. */
export async function ensureCheckpoint(
  python: string,
  { codeDir }: WanCode,
  task: WanTask,
): Promise<string> {
  const directory = join(cacheDir, `checkpoint-${task}-${fingerprintOf(codeDir)}`)
  if (existsSync(directory)) {
    console.log(`${task}: as written before`)
    return directory
  }
  const outdated = readdirSync(cacheDir).filter((name) => name.startsWith(`checkpoint-${task}-`))
  for (const name of outdated) rmSync(join(cacheDir, name), { recursive: true })
  const unfinished = `${directory}.unfinished`
  const lengths = checkpointLayouts[task].files.map(({ path, bytes }) => `${path}=${bytes}`)
  const PYTHONPATH = `${changesDir}:${codeDir}`
  await $({
    quiet: true,
    env: { ...process.env, ...pythonEnvironment, PYTHONPATH },
  })`${python} ${join(changesDir, 'write_checkpoint.py')} ${task} ${unfinished} ${lengths}`
  renameSync(unfinished, directory)
  console.log(`${task}: ${directory}`)
  return directory
}

function fingerprintOf(codeDir: string): string {
  const modules = join(codeDir, 'wan', 'modules')
  const files = [
    join(changesDir, 'write_checkpoint.py'),
    join(changesDir, 'on_cpu', 'changes.py'),
    ...['model.py', 't5.py', 'vae2_1.py', 'vae2_2.py'].map((name) => join(modules, name)),
  ]
  const hash = createHash('sha256').update(codeDir)
  for (const path of files) hash.update(readFileSync(path))
  return hash.digest('hex').slice(0, 12)
}
