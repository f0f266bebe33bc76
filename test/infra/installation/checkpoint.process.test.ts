import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import type { WanTask } from '../../../src/domain/wan-tasks.ts'
import { findCheckpointFaults } from '../../../src/infra/installation/checkpoint.ts'
import { simulateCheckpoint } from '../../../src/infra/installation/simulation.ts'
import { aDataDirectory, startService } from '../../support/service.ts'

const index = 'diffusion_pytorch_model.safetensors.index.json'
const shard = 'diffusion_pytorch_model-00001-of-00001.safetensors'
const lfsPointer = `version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 11361920418
`

let ckptDir: string
beforeEach(() => {
  ckptDir = simulateCheckpoint(join(aDataDirectory(), 'checkpoint'))
})

const at = (path: string) => join(ckptDir, path)
const faults = (task: WanTask = 'ti2v-5B') => findCheckpointFaults({ ckptDir, task })

describe('a checkpoint', () => {
  it('is complete with the names and sizes that were published', async () => {
    expect(await faults()).toEqual([])
    expect(statSync(at('models_t5_umt5-xxl-enc-bf16.pth')).size).toBe(11_361_920_418)
    expect(statSync(at('Wan2.2_VAE.pth')).size).toBe(2_818_839_170)
  })

  it.each([
    'models_t5_umt5-xxl-enc-bf16.pth',
    'google/umt5-xxl/tokenizer.json',
    'google/umt5-xxl/spiece.model',
    'google/umt5-xxl/tokenizer_config.json',
    'google/umt5-xxl/special_tokens_map.json',
    'Wan2.2_VAE.pth',
    'config.json',
    index,
    shard,
  ])('wants %s, and the file itself rather than its pointer', async (path) => {
    writeFileSync(at(path), lfsPointer)
    expect(await faults()).toEqual([{ path, problem: expect.stringContaining('git-lfs') }])
    rmSync(at(path))
    expect(await faults()).toEqual([{ path, problem: 'is missing' }])
  })

  it('is not complete while a file is shorter than was published', async () => {
    truncateSync(at('Wan2.2_VAE.pth'), 2_818_839_169)
    expect(await faults()).toEqual([
      { path: 'Wan2.2_VAE.pth', problem: 'has 2818839169 bytes instead of 2818839170' },
    ])
  })

  it('is not complete while a shard is shorter than it says itself', async () => {
    const { size } = statSync(at(shard))
    truncateSync(at(shard), size - 1)
    expect(await faults()).toEqual([
      { path: shard, problem: `has ${size - 1} bytes instead of ${size}` },
    ])
    truncateSync(at(shard), 20)
    expect(await faults()).toEqual([{ path: shard, problem: 'is not a safetensors file' }])
    writeFileSync(at(shard), 'not a shard at all')
    expect(await faults()).toEqual([{ path: shard, problem: 'is not a safetensors file' }])
  })

  it('may be fine-tuned: its own index says what its shards are', async () => {
    renameSync(at(shard), at('mine.safetensors'))
    expect(await faults()).toEqual([{ path: shard, problem: 'is missing' }])
    writeFileSync(at(index), '{"weight_map": {"a": "mine.safetensors", "b": "mine.safetensors"}}')
    expect(await faults()).toEqual([])
    appendFileSync(at(index), 'x')
    expect(await faults()).toEqual([{ path: index, problem: 'is not an index of shards' }])
  })

  it('has other files for other tasks', async () => {
    expect((await faults('t2v-A14B')).map(({ path }) => path)).toEqual([
      'Wan2.1_VAE.pth',
      'low_noise_model/config.json',
      join('low_noise_model', index),
      'high_noise_model/config.json',
      join('high_noise_model', index),
    ])
    writeFileSync(at('Wan2.1_VAE.pth'), '')
    truncateSync(at('Wan2.1_VAE.pth'), 507_609_880)
    for (const model of ['low_noise_model', 'high_noise_model']) {
      mkdirSync(at(model))
      for (const file of ['config.json', index]) {
        writeFileSync(at(join(model, file)), readFileSync(at(file)))
      }
      renameSync(
        at(model === 'low_noise_model' ? shard : `low_noise_model/${shard}`),
        at(join(model, shard)),
      )
    }
    expect(await faults('i2v-A14B')).toEqual([
      { path: join('low_noise_model', shard), problem: 'is missing' },
    ])
  })

  it('is not the one that was made for Diffusers, nor nothing at all', async () => {
    writeFileSync(at('model_index.json'), '{}')
    expect(await faults()).toEqual([
      { path: ckptDir, problem: expect.stringContaining('Diffusers') },
    ])
    rmSync(ckptDir, { recursive: true })
    expect(await faults()).toEqual([{ path: ckptDir, problem: 'is not a directory' }])
  })
})

describe('GET /ready', () => {
  it('is 200 with a complete checkpoint, and 503 naming the files of one that is not', async () => {
    const service = await startService()
    const isReady = async () => (await service.request('/ready')).status
    await expect.poll(isReady).toBe(200)

    rmSync(at('google'), { recursive: true })
    const other = await startService({ env: { WAN_CKPT_DIR: ckptDir } })
    let detail = ''
    const isFound = async () => {
      const answer = await other.request('/ready')
      const { checks } = (await answer.json()) as { checks: { name: string; detail: string }[] }
      detail = checks.find(({ name }) => name === 'checkpoint')?.detail ?? ''
      return [answer.status, detail]
    }
    await expect.poll(isFound).toEqual([503, expect.stringContaining('is missing')])
    expect(detail).toContain('google/umt5-xxl/tokenizer.json is missing.')
    expect(detail).toContain('google/umt5-xxl/spiece.model is missing.')
    expect(detail).toContain('hf download Wan-AI/Wan2.2-TI2V-5B')
  })
})
