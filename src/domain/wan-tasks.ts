/** What each task of Wan2.2 makes and needs, from its own configuration (wan/configs at 42bf4cf). */
import type { VideoRequest, VideoSize } from './job.ts'

export const wanTaskNames = ['ti2v-5B', 't2v-A14B', 'i2v-A14B'] as const
export type WanTask = (typeof wanTaskNames)[number]

type Task = Readonly<{
  frames: number
  steps: number
  fps: number
  /** What may be asked for. */
  sizes: readonly VideoSize[]
  /** What is generated for those that the model does not make itself. */
  generatedAs: Readonly<Partial<Record<VideoSize, VideoSize>>>
  /** Whether a video begins with a picture. */
  image: 'never' | 'perhaps' | 'always'
}>

export const wanTasks: Readonly<Record<WanTask, Task>> = {
  'ti2v-5B': {
    frames: 121,
    steps: 50,
    fps: 24,
    sizes: ['1280x720', '720x1280', '1280x704', '704x1280'],
    generatedAs: { '1280x720': '1280x704', '720x1280': '704x1280' },
    image: 'perhaps',
  },
  't2v-A14B': {
    frames: 81,
    steps: 40,
    fps: 16,
    sizes: ['1280x720', '720x1280'],
    generatedAs: {},
    image: 'never',
  },
  'i2v-A14B': {
    frames: 81,
    steps: 40,
    fps: 16,
    sizes: ['1280x720', '720x1280'],
    generatedAs: {},
    image: 'always',
  },
}

export type Dimensions = Readonly<{ width: number; height: number }>

export const nativeSize = (task: WanTask, size: VideoSize): VideoSize =>
  wanTasks[task].generatedAs[size] ?? size

/** What the generation of this request leaves when all is well; the file made of it has `size`. */
export const isAsGenerated = (
  task: WanTask,
  { size, image }: Pick<VideoRequest, 'size' | 'image'>,
  found: Dimensions,
): boolean => {
  const native = dimensions(nativeSize(task, size))
  if (!image) return found.width === native.width && found.height === native.height
  // Its aspect is the image's, and both sides are rounded down (facts: §1.3).
  const share = (found.width * found.height) / (native.width * native.height)
  return share <= 1 && share > 0.8
}

export function dimensions(size: VideoSize): Dimensions {
  const [width = 0, height = 0] = size.split('x').map(Number)
  return { width, height }
}
