/** What each task of Wan2.2 makes and needs, from its own configuration (wan/configs at 42bf4cf). */
import type { VideoRequest, VideoSize } from './job.ts'

export const wanTaskNames = ['ti2v-5B', 't2v-A14B'] as const
export type WanTask = (typeof wanTaskNames)[number]

type Task = Readonly<{
  frames: number
  steps: number
  fps: number
  /** What may be asked for. */
  sizes: readonly VideoSize[]
  /** What is generated for those that the model does not make itself. */
  generatedAs: Readonly<Partial<Record<VideoSize, VideoSize>>>
}>

export const wanTasks: Readonly<Record<WanTask, Task>> = {
  'ti2v-5B': {
    frames: 121,
    steps: 50,
    fps: 24,
    sizes: ['1280x720', '720x1280', '1280x704', '704x1280'],
    generatedAs: { '1280x720': '1280x704', '720x1280': '704x1280' },
  },
  't2v-A14B': {
    frames: 81,
    steps: 40,
    fps: 16,
    sizes: ['1280x720', '720x1280'],
    generatedAs: {},
  },
}

export type Dimensions = Readonly<{ width: number; height: number }>

export const nativeSize = (task: WanTask, size: VideoSize): VideoSize =>
  wanTasks[task].generatedAs[size] ?? size

/** What a complete file of this request looks like, before and after conversion. */
export function expectedVideo(
  task: WanTask,
  { size, frames }: Pick<VideoRequest, 'size' | 'frames'>,
) {
  const native = dimensions(nativeSize(task, size))
  return { frames, native, finished: dimensions(size) }
}

export function dimensions(size: VideoSize): Dimensions {
  const [width = 0, height = 0] = size.split('x').map(Number)
  return { width, height }
}
