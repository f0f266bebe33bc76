/** Whether the files that `generate.py` loads are all there, and whole (facts: §5). */
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import type { WanTask } from '../../domain/wan-tasks.ts'

/** A file as it was published; one that is smaller has not come whole. */
type PublishedFile = Readonly<{ path: string; bytes: number }>

const textEncoder: readonly PublishedFile[] = [
  { path: 'models_t5_umt5-xxl-enc-bf16.pth', bytes: 11_361_920_418 },
  { path: 'google/umt5-xxl/tokenizer.json', bytes: 16_837_417 },
  { path: 'google/umt5-xxl/spiece.model', bytes: 4_548_313 },
  { path: 'google/umt5-xxl/tokenizer_config.json', bytes: 61_728 },
  { path: 'google/umt5-xxl/special_tokens_map.json', bytes: 6_623 },
]
const vae21: PublishedFile = { path: 'Wan2.1_VAE.pth', bytes: 507_609_880 }
const vae22: PublishedFile = { path: 'Wan2.2_VAE.pth', bytes: 2_818_839_170 }

/**
 * `models` are directories of the diffusion model's own files. Those have no published sizes here: an
 * index names the shards and each shard tells its length, so that fine-tuned models are judged as well.
 */
type Layout = Readonly<{
  repository: string
  files: readonly PublishedFile[]
  models: readonly string[]
}>

const experts = ['low_noise_model', 'high_noise_model']

export const checkpointLayouts: Readonly<Record<WanTask, Layout>> = {
  'ti2v-5B': {
    repository: 'Wan-AI/Wan2.2-TI2V-5B',
    files: [...textEncoder, vae22],
    models: [''],
  },
  't2v-A14B': {
    repository: 'Wan-AI/Wan2.2-T2V-A14B',
    files: [...textEncoder, vae21],
    models: experts,
  },
  'i2v-A14B': {
    repository: 'Wan-AI/Wan2.2-I2V-A14B',
    files: [...textEncoder, vae21],
    models: experts,
  },
}

export const modelIndex = 'diffusion_pytorch_model.safetensors.index.json'

export type CheckpointFault = Readonly<{ path: string; problem: string }>

type Checkpoint = Readonly<{ ckptDir: string; task: WanTask }>

/** Everything that keeps the checkpoint from being loaded; none: it is complete. */
export async function findCheckpointFaults({
  ckptDir,
  task,
}: Checkpoint): Promise<readonly CheckpointFault[]> {
  if (!(await stat(ckptDir).catch(() => undefined))?.isDirectory()) {
    return [{ path: ckptDir, problem: 'is not a directory' }]
  }
  if (await stat(join(ckptDir, 'model_index.json')).catch(() => undefined)) {
    return [{ path: ckptDir, problem: 'is laid out for Diffusers, which generate.py cannot read' }]
  }
  const { files, models } = checkpointLayouts[task]
  const faults = await Promise.all([
    ...files.map((file) => faultsOfFile(ckptDir, file)),
    ...models.map((model) => faultsOfModel(ckptDir, model)),
  ])
  return faults.flat()
}

/** How to get what is not there. */
export const howToDownload = ({ ckptDir, task }: Checkpoint): string =>
  `Run: hf download ${checkpointLayouts[task].repository} --local-dir ${ckptDir}. If it is elsewhere, set WAN_CKPT_DIR.`

const faultsOfFile = async (ckptDir: string, { path, bytes }: PublishedFile) =>
  faultsOf(path, await problemOf(join(ckptDir, path), bytes))

const ModelIndex = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    weight_map: v.pipe(v.record(v.string(), v.pipe(v.string(), v.nonEmpty())), v.minEntries(1)),
  }),
)

async function faultsOfModel(ckptDir: string, model: string): Promise<CheckpointFault[]> {
  const path = join(model, modelIndex)
  const config = await faultsOfFile(ckptDir, { path: join(model, 'config.json'), bytes: 1 })
  const absent = await faultsOfFile(ckptDir, { path, bytes: 1 })
  if (absent.length > 0) return [...config, ...absent]
  const index = v.safeParse(ModelIndex, await readFile(join(ckptDir, path), 'utf8'))
  if (!index.success) return [...config, { path, problem: 'is not an index of shards' }]
  const shards = [...new Set(Object.values(index.output.weight_map))]
  const faults = shards.map((shard) => faultsOfShard(ckptDir, join(model, shard)))
  return [...config, ...(await Promise.all(faults)).flat()]
}

/** A shard begins with a list of its tensors, and ends with the last of them. */
async function faultsOfShard(ckptDir: string, path: string): Promise<CheckpointFault[]> {
  const whole = join(ckptDir, path)
  const absent = await faultsOfFile(ckptDir, { path, bytes: 1 })
  if (absent.length > 0) return absent
  const bytes = await safetensorsLength(whole)
  return faultsOf(
    path,
    bytes === undefined ? 'is not a safetensors file' : await problemOf(whole, bytes),
  )
}

const faultsOf = (path: string, problem: string | undefined): CheckpointFault[] =>
  problem === undefined ? [] : [{ path, problem }]

/** Undefined where the file is there, as long as it has to be, and itself. */
async function problemOf(path: string, bytes: number): Promise<string | undefined> {
  const found = (await stat(path).catch(() => undefined))?.size
  if (found === undefined) return 'is missing'
  if (await isPointer(path, found)) {
    return 'is a pointer of git-lfs, not the file itself: run `git lfs pull` there'
  }
  return found < bytes ? `has ${found} bytes instead of ${bytes}` : undefined
}

/** A real one has some 100 KB for thousands of tensors; safetensors itself allows this much. */
const maxHeaderLength = 100_000_000

const Header = v.pipe(
  v.string(),
  v.parseJson(),
  v.record(
    v.string(),
    v.looseObject({ data_offsets: v.optional(v.tuple([v.number(), v.number()]), [0, 0]) }),
  ),
)

/** How long the file has to be by its own word (https://github.com/huggingface/safetensors#format). */
async function safetensorsLength(path: string): Promise<number | undefined> {
  await using file = await open(path)
  const prefix = await file.read(Buffer.alloc(8), 0, 8, 0)
  if (prefix.bytesRead < 8) return undefined
  const headerBytes = Number(prefix.buffer.readBigUInt64LE())
  if (headerBytes > maxHeaderLength) return undefined
  const { buffer, bytesRead } = await file.read(Buffer.alloc(headerBytes), 0, headerBytes, 8)
  if (bytesRead < headerBytes) return undefined
  const header = v.safeParse(Header, buffer.toString())
  if (!header.success) return undefined
  const ends = Object.values(header.output).map(({ data_offsets: [, end] }) => end)
  return 8 + headerBytes + ends.reduce((latest, end) => Math.max(latest, end), 0)
}

/** Pointers have some 130 bytes (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md). */
async function isPointer(path: string, bytes: number): Promise<boolean> {
  if (bytes > 1024) return false
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.startsWith('version https://git-lfs.github.com/spec/')
}
