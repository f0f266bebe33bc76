/** The file of a finished video as its record describes it. */
import { type GpuId, hasFile, type Job, type JobId, type VideoFacts, type WithFile } from './job.ts'

/** `gpu`: the one that it was generated on. The file is on the same machine. */
export type VideoFile = Readonly<{
  jobId: JobId
  gpu: GpuId
  filename: string
  facts: VideoFacts
}>

/** The file is there or lost, and was not deleted on request. */
export const mayHaveFile = (job: Job): job is WithFile =>
  hasFile(job) || (job.state.status === 'success' && job.state.fileLost !== undefined)

export const isSuccessful = (job: Job): job is WithFile => job.state.status === 'success'

export const fileOf = ({ id, state: { gpu, filename, video } }: WithFile): VideoFile => ({
  jobId: id,
  gpu,
  filename,
  facts: video,
})
