/** How `generate.py` is called: its arguments and its environment. */
import { join } from 'node:path'
import type { AttemptOrder } from '../../actors/gpu/gpu-ports.ts'
import type { VideoRequest } from '../../domain/job.ts'
import { nativeSize, type WanTask } from '../../domain/wan-tasks.ts'
import {
  attemptDirectory,
  type DataDirectory,
  eventsOf,
  imageOf,
  sourceVideoPath,
} from '../disk/data-directory.ts'

export const launcherPath = join(import.meta.dirname, 'launcher.py')

export type WanSetup = Readonly<{
  python: string
  /** A checkout of Wan2.2. */
  wanDir: string
  ckptDir: string
  task: WanTask
  extraArgs: readonly string[]
  /** Whether our launcher runs the script, and tells how far it has come. */
  launcher: boolean
  /** Whether PyTorch's attention stands in for a missing flash-attn. */
  sdpa: boolean
  /** Whether the launcher maps the text encoder from its file. */
  fastLoad: boolean
  /** Where the launcher keeps embeddings of prompts, and how many bytes of them at most. */
  embeddings?: Readonly<{ directory: string; maxBytes: number }> | undefined
}>

/**
 * One item per argument and `--prompt=…` as one item, so that no prompt is ever an option. Extra
 * arguments come first: argparse keeps the last of each, and what the service checks must hold.
 */
export function commandFor(
  wan: WanSetup,
  { prompt, negativePrompt, size, frames, steps, guidance, shift, seed }: VideoRequest,
  { attemptDir, image }: Readonly<{ attemptDir: string; image?: string }>,
): string[] {
  const { python, ckptDir, task, extraArgs, launcher } = wan
  const negative = negativePrompt === undefined ? [] : [`--negative-prompt=${negativePrompt}`]
  const launching = [launcherPath, ...launcherOptions(wan), ...negative, eventsOf(attemptDir)]
  return [
    ...[python, ...(launcher ? launching : []), 'generate.py', ...extraArgs],
    ...['--task', task, '--size', nativeSize(task, size).replace('x', '*')],
    ...['--ckpt_dir', ckptDir],
    ...['--frame_num', String(frames), '--sample_steps', String(steps)],
    ...(guidance === undefined ? [] : ['--sample_guide_scale', String(guidance)]),
    ...(shift === undefined ? [] : ['--sample_shift', String(shift)]),
    ...(image === undefined ? [] : ['--image', image]),
    ...[
      '--base_seed',
      String(seed),
      '--save_file',
      sourceVideoPath(attemptDir),
      `--prompt=${prompt}`,
    ],
    // The script refuses what it does not know, rather than make a video without it.
    ...(negativePrompt === undefined || launcher ? [] : [`--negative_prompt=${negativePrompt}`]),
  ]
}

/** Options of the launcher, which a template has too. */
export const launcherOptions = ({ sdpa, fastLoad, embeddings }: WanSetup): string[] => [
  ...(sdpa ? ['--sdpa'] : []),
  ...(fastLoad ? ['--fast-load'] : []),
  ...(embeddings ? [`--embeddings=${embeddings.maxBytes}:${embeddings.directory}`] : []),
]

/** That of an attempt, whose files are where the service keeps them. */
export const commandOfAttempt = (
  data: Pick<DataDirectory, 'workDir'>,
  wan: WanSetup,
  { jobId, epoch, request }: AttemptOrder,
): string[] =>
  commandFor(wan, request, {
    attemptDir: attemptDirectory(data, { jobId, epoch }),
    ...(request.image && { image: imageOf(data, jobId) }),
  })

/** With any of these the script believes itself one of many and waits for the others for ever. */
const distributed = ['RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT']

/** For Node, and for threads that allocate little: those of PyTorch do not. */
const ours = ['MALLOC_ARENA_MAX', 'NODE_COMPILE_CACHE']

/** Each setting is for a fact measured on the script or its libraries (facts: §8). */
export function environmentFor(inherited: NodeJS.ProcessEnv, device: string): NodeJS.ProcessEnv {
  const kept = Object.entries(inherited).filter(
    ([name]) => ![...distributed, ...ours].includes(name) && !name.startsWith('TQDM_'),
  )
  return {
    PYTORCH_CUDA_ALLOC_CONF: 'expandable_segments:True',
    ...Object.fromEntries(kept),
    CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
    CUDA_VISIBLE_DEVICES: device,
    PYTHONUNBUFFERED: '1',
    PYTHONUTF8: '1',
    TZ: 'UTC',
    HF_HUB_OFFLINE: '1',
    TRANSFORMERS_OFFLINE: '1',
    IMAGEIO_FFMPEG_NO_PREVENT_SIGINT: '1',
  }
}
