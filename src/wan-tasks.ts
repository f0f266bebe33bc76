/** What each task of Wan2.2 makes and needs, from its own configuration (wan/configs at 42bf4cf). */
import type { VideoRequest, VideoSize } from './job.ts'

export type WanTask = keyof typeof wanTasks

type Task = Readonly<{
  frames: number
  steps: number
  fps: number
  /** What `--size` gets for each size we deliver, as WIDTH*HEIGHT. */
  nativeSize: Readonly<Record<VideoSize, `${number}*${number}`>>
}>

export const wanTasks = {
  'ti2v-5B': {
    frames: 121,
    steps: 50,
    fps: 24,
    nativeSize: { '1280x720': '1280*704', '720x1280': '704*1280' },
  },
  't2v-A14B': {
    frames: 81,
    steps: 40,
    fps: 16,
    nativeSize: { '1280x720': '1280*720', '720x1280': '720*1280' },
  },
} as const satisfies Record<string, Task>

export const wanTaskNames = Object.keys(wanTasks) as WanTask[]

export type Dimensions = Readonly<{ width: number; height: number }>

export const nativeDimensions = (task: WanTask, size: VideoSize): Dimensions =>
  dimensions(wanTasks[task].nativeSize[size].replace('*', 'x'))

export const finishedDimensions = (size: VideoSize): Dimensions => dimensions(size)

/** What a complete file of this request looks like, before and after conversion. */
export function expectedVideo(
  task: WanTask,
  { size, frames }: Pick<VideoRequest, 'size' | 'frames'>,
) {
  return { frames, native: nativeDimensions(task, size), finished: finishedDimensions(size) }
}

function dimensions(size: string): Dimensions {
  const [width = 0, height = 0] = size.split('x').map(Number)
  return { width, height }
}
