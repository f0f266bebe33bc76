/** What lets the service run without a GPU, a model or a checkout: the bundled simulator. */
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../../config/root.ts'
import { checkpointLayouts, modelIndex } from './checkpoint.ts'

const task = 'ti2v-5B'

/** Of one shard, as the real ones have together; it takes no room on the disk. */
const shardBytes = 19_999_150_848
const shard = 'diffusion_pytorch_model-00001-of-00001.safetensors'

export const simulatorDir = join(root, 'sim')

/** The environment of a service with so many simulated GPUs, beside what else is set. */
export function simulatedEnvironment(gpus: number, dataDir: string): NodeJS.ProcessEnv {
  return {
    DATA_DIR: dataDir,
    GPU_IDS: Array.from({ length: gpus }, (_, index) => index).join(','),
    WAN_DIR: simulatorDir,
    WAN_CKPT_DIR: simulateCheckpoint(join(dataDir, 'checkpoint')),
    WAN_PYTHON: 'python3',
    WAN_TASK: task,
    MAX_CONCURRENT_LOADS: String(gpus),
    // What the simulator takes: a real card takes minutes.
    DEFAULT_JOB_S: '15',
  }
}

/** A checkpoint that is complete by name and size, though there is nothing in it: its files are sparse. */
export function simulateCheckpoint(ckptDir: string): string {
  const { files, models } = checkpointLayouts[task]
  for (const { path, bytes } of files) writeSparse(join(ckptDir, path), '', bytes)
  for (const model of models) {
    const tensor = { dtype: 'F32', shape: [shardBytes / 4], data_offsets: [0, shardBytes] }
    const header = JSON.stringify({ 'blocks.0.weight': tensor })
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.length))
    const index = { weight_map: { 'blocks.0.weight': shard } }
    writeSparse(join(ckptDir, model, 'config.json'), '{}')
    writeSparse(join(ckptDir, model, modelIndex), JSON.stringify(index))
    const begin = Buffer.concat([length, Buffer.from(header)])
    writeSparse(join(ckptDir, model, shard), begin, begin.length + shardBytes)
  }
  return ckptDir
}

function writeSparse(path: string, begin: string | Buffer, bytes = begin.length): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, begin)
  truncateSync(path, bytes)
}
