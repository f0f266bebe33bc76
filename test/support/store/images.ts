import type { JobId } from '../../../src/domain/job.ts'

/** All parts of an image. */
export async function wholeImage(
  read: (jobId: JobId, part: number) => Promise<Buffer | undefined>,
  jobId: JobId,
): Promise<Buffer> {
  const parts: Buffer[] = []
  for (;;) {
    const part = await read(jobId, parts.length)
    if (!part) return Buffer.concat(parts)
    parts.push(part)
  }
}
