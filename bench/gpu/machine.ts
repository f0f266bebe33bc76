/** The machine, and whether it has enough for the checks. */
import { existsSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import * as v from 'valibot'
import { bytesPerLoad, memoryBytes } from '../../src/config/config.ts'
import { messageOf } from '../../src/domain/errors.ts'
import { freeSpace } from '../../src/infra/disk/free-space.ts'
import { environmentFor } from '../../src/infra/generation/command.ts'
import { availableMemory } from '../../src/infra/machine/available-memory.ts'
import { listGpus, measureGpus, readDriver } from '../../src/infra/machine/nvidia-smi.ts'
import { runTool } from '../../src/infra/processes/tool.ts'
import { type Options, UnfitError } from './options.ts'
import { bytesToWrite, bytesToWriteFrom, hasFiles, temporaryFolder } from './weights.ts'

/** Importing PyTorch takes up to half a minute from a slow disk. */
const maxImportMs = 120_000

const task = 'ti2v-5B'

export type Machine = Awaited<ReturnType<typeof readMachine>>

const PyTorch = v.object({
  python: v.string(),
  missing: v.optional(v.string()),
  torch: v.optional(v.string()),
  cuda: v.nullish(v.string()),
  available: v.optional(v.boolean()),
  flashAttention: v.optional(v.boolean()),
})

/** Rejects with an UnfitError where nothing can be checked. */
export async function readMachine(options: Options, signal: AbortSignal) {
  const { wanDir } = options
  if (!['generate.py', 'wan'].every((name) => existsSync(join(wanDir, name)))) {
    throw new UnfitError(
      `${wanDir} is no checkout of Wan2.2: it has no generate.py, or no wan/. Run: git clone https://github.com/Wan-Video/Wan2.2 ${wanDir}`,
    )
  }
  const gpu = await chooseGpu(options)
  const pyTorch = await readPyTorch(options, gpu.index, signal)
  const [driver, readings] = [await readDriver(), await measureGpus()]
  const reading = readings.find(({ index }) => index === gpu.index)
  if (!reading) {
    throw new UnfitError(
      `nvidia-smi does not tell how much memory of GPU ${gpu.index} is in use. Is it a MIG slice? They are not supported.`,
    )
  }
  await refuseShortage(options)
  const temporary = temporaryFolder()
  return {
    gpu: gpu.index,
    gpuName: gpu.name,
    gpuMiB: reading.memoryTotalMiB,
    gpuUsedMiB: reading.memoryUsedMiB,
    driver: driver.ok ? driver.version : 'unknown',
    ...pyTorch,
    memoryBytes: memoryBytes(),
    availableBytes: availableMemory(),
    temporary,
    freeBytes: (await freeSpace(temporary)).freeBytes,
    node: process.versions.node,
  }
}

async function chooseGpu({ gpu }: Options) {
  const answer = await listGpus()
  if (!answer.ok) {
    throw new UnfitError(
      `There is no GPU to check: ${answer.why}. This needs an NVIDIA GPU and its driver; in a container, pass the GPU on (docker run --gpus all).`,
    )
  }
  const found = gpu === undefined ? answer.gpus[0] : answer.gpus.find(({ index }) => index === gpu)
  if (found) return found
  const listed = answer.gpus.map(({ index, name }) => `${index} (${name})`).join(', ')
  throw new UnfitError(
    gpu === undefined
      ? 'nvidia-smi -L lists no GPU.'
      : `There is no GPU ${gpu}. nvidia-smi -L lists ${listed || 'none'}.`,
  )
}

async function readPyTorch({ python, wanDir }: Options, gpu: number, signal: AbortSignal) {
  const program = join(import.meta.dirname, 'machine.py')
  const found = await runTool([python, program, resolve(wanDir)], {
    timeoutMs: maxImportMs,
    signal,
    env: environmentFor(process.env, String(gpu)),
  })
    .then((output) => v.parse(PyTorch, JSON.parse(output)))
    .catch((error: unknown) => {
      throw new UnfitError(
        `${messageOf(error)}. Pass --python, or set WAN_PYTHON: the Python in which generate.py works.`,
      )
    })
  if (found.missing !== undefined) {
    throw new UnfitError(
      `${python} has no PyTorch (${found.missing}). Pass --python, or set WAN_PYTHON: the Python in which generate.py works.`,
    )
  }
  if (!found.available) {
    const build = found.cuda ? `built for CUDA ${found.cuda}` : 'built without CUDA'
    throw new UnfitError(
      `PyTorch ${found.torch} of ${python} cannot use the GPU. It is ${build}. Install a build for a CUDA that the driver supports: https://pytorch.org/get-started/locally/`,
    )
  }
  return found
}

async function refuseShortage(options: Options): Promise<void> {
  if (!options.only.includes('service')) return
  const fastLoad = process.env.FAST_LOAD !== 'off'
  const toLoad = options.warmStart === 'auto' ? bytesPerLoad({ fastLoad, task }) : 0
  const { ckptDir, weightsDir } = options
  const isWritten = ckptDir === undefined && !(weightsDir !== undefined && hasFiles(weightsDir))
  const needed = Math.max(toLoad, isWritten ? bytesToWriteFrom : 0)
  const available = availableMemory()
  if (available < needed) {
    throw new UnfitError(
      `${size(available)} of host memory are available, and ${size(needed)} are needed. End other programs; or pass --warm-start on, which does not ask; or check the rest by --only probe.`,
    )
  }
  if (!isWritten) return
  const place = existingParent(weightsDir ?? temporaryFolder())
  const { freeBytes } = await freeSpace(place)
  if (freeBytes < bytesToWrite) {
    throw new UnfitError(
      `The random weights take ${size(bytesToWrite)}, and ${place} has room for ${size(freeBytes)}. Pass --weights-dir on a larger disk (or set TMPDIR); or --ckpt-dir with real weights; or check the rest by --only probe.`,
    )
  }
}

function existingParent(path: string): string {
  const whole = resolve(path)
  return existsSync(whole) && statSync(whole).isDirectory() ? whole : existingParent(dirname(whole))
}

export const describeMachine = (machine: Machine): string => {
  const { gpu, gpuName, gpuMiB, gpuUsedMiB, driver } = machine
  const inUse = gpuUsedMiB > 0 ? ` (${gpuUsedMiB} MiB in use by others)` : ''
  return [
    `GPU ${gpu} ${gpuName}, ${gpuMiB} MiB${inUse}`,
    `driver ${driver}`,
    `PyTorch ${machine.torch} for CUDA ${machine.cuda ?? 'unknown'}`,
    `flash-attn ${machine.flashAttention ? 'installed' : 'missing'}`,
    `Python ${machine.python}`,
    `Node ${machine.node}`,
    `host memory ${size(machine.memoryBytes)}, ${size(machine.availableBytes)} available`,
    `${size(machine.freeBytes)} free in ${machine.temporary}`,
  ].join('; ')
}

export const size = (bytes: number): string =>
  bytes < 1024 ** 3
    ? `${Math.round(bytes / 1024 ** 2)} MiB`
    : `${(bytes / 1024 ** 3).toFixed(1)} GiB`
