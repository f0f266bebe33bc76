/** Random weights for `scripts/gpu-check` have the sizes of the published ones, by the real code of Wan2.2. */
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { root } from '../../src/config/root.ts'
import {
  checkpointLayouts,
  findCheckpointFaults,
  modelIndex,
} from '../../src/infra/installation/checkpoint.ts'
import { aDataDirectory } from '../support/service.ts'
import { changesDir, prepared } from './settings.ts'

const { files } = checkpointLayouts['ti2v-5B']

/** As https://huggingface.co/Wan-AI/Wan2.2-TI2V-5B has them. The service takes any that are whole. */
const shards = [9_825_014_472, 9_995_661_736, 178_558_176].map((bytes, index) => ({
  path: `diffusion_pytorch_model-0000${index + 1}-of-00003.safetensors`,
  bytes,
}))

/** Each archive has 256 KiB of padding. Its own bookkeeping differs from one version of PyTorch to another. */
const slackBytes = 512 * 1024

/** Without the changes of the other tests, which make models small. transformers, for one, need not be installed. */
const runPython = (python: string, args: readonly string[]): string =>
  execFileSync(python, args, {
    encoding: 'utf8',
    env: { ...process.env, PYTHONPATH: join(changesDir, 'on_cpu', 'stand_ins') },
  })

/** Counting 34 GB takes 20 s of a CPU. */
const patienceMs = 280_000

describe('random weights of ti2v-5B', () => {
  let sizes: Record<string, number>
  beforeAll(() => {
    const { python, codeDir } = prepared()
    const program = join(root, 'bench', 'gpu', 'weights.py')
    const lengths = files.map(({ path, bytes }) => `${path}=${bytes}`)
    const output = runPython(python, [program, '--sizes', codeDir, ...lengths])
    sizes = JSON.parse(output) as Record<string, number>
  }, patienceMs)

  it('have every file of a checkpoint, and no other', () => {
    const paths = [...files, ...shards].map(({ path }) => path)
    expect(Object.keys(sizes).toSorted()).toEqual([...paths, modelIndex, 'config.json'].toSorted())
  })

  it.each([...files, ...shards])('are as long as published, but for bookkeeping: $path', (file) => {
    const bytes = sizes[file.path]
    expect(bytes).toBeGreaterThanOrEqual(file.bytes)
    expect(bytes).toBeLessThan(file.bytes + slackBytes)
  })

  it('are loaded by Wan2.2 as they were meant, and whole to the service, where models are small', async () => {
    const { python, codeDir } = prepared()
    const program = join(changesDir, 'small_weights.py')
    const directory = aDataDirectory()
    const output = runPython(python, [program, join(root, 'bench', 'gpu'), codeDir, directory])
    expect(output.match(/^[a-z ]+(?=: [1-9]\d* tensors$)/gm)).toEqual([
      'dit',
      'vae',
      'text encoder',
    ])
    const names = readdirSync(directory).filter((name) => name.endsWith('.safetensors'))
    expect(names.length).toBeGreaterThan(2)
    // The other files are too small here, or missing.
    const faults = await findCheckpointFaults({ ckptDir: directory, task: 'ti2v-5B' })
    const paths = new Set(files.map(({ path }) => path))
    expect(faults.filter(({ path }) => !paths.has(path))).toEqual([])
  })
})
