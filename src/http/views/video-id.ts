import type { JobId } from '../../domain/job.ts'

/** A video is a job; what says so is this prefix. */
export const videoIdOf = (jobId: JobId): string => `video_${jobId}`
