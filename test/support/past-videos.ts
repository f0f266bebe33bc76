/** Finished jobs with their files, written before the service starts. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { QueueOperation } from '../../src/actors/queue/queue-ports.ts'
import { contentSignature } from '../../src/infra/media/video-signature.ts'
import { aRequest, aVideo, fromAnybody, gpu0, jobId } from './jobs.ts'
import { aFileOf } from './mp4.ts'
import { recordEarlier } from './store/earlier-records.ts'

export const pastName = (n: number): string => `past-${n}.mp4`

/** Jobs 1 to `count`. Their files are what the service takes for published videos. */
export async function writePastVideos(dataDir: string, count: number): Promise<void> {
  mkdirSync(join(dataDir, 'results'), { recursive: true })
  const operations: QueueOperation[] = []
  for (let n = 1; n <= count; n++) {
    const of = { jobId: jobId(n), at: Date.now() - 60_000 + n }
    const filename = pastName(n)
    const path = join(dataDir, 'results', filename)
    writeFileSync(path, aFileOf(jobId(n)))
    const handle = await open(path)
    const { size: bytes } = await handle.stat()
    const video = aVideo({ bytes, signature: await contentSignature(handle, bytes) })
    await handle.close()
    operations.push(
      { op: 'submit', ...of, seq: n, request: aRequest({ filename }), ...fromAnybody },
      { op: 'claim', ...of, epoch: 1, attempt: 1, gpu: gpu0, filename },
      { op: 'finish', ...of, epoch: 1, outcome: { status: 'success', video } },
    )
  }
  await recordEarlier(dataDir, operations)
}
