import * as v from 'valibot'
import type { KeptVideo } from '../../actors/archive/archive-protocol.ts'
import { Uuid } from './words.ts'

/** Files that a deletion has left where they are. Absent when there are none. */
export const KeptFilesJson = v.pipe(
  v.array(v.object({ id: Uuid, filename: v.string(), reason: v.string() })),
  v.description('files that could not be deleted, or that are not the video of their job'),
)

export const keptFileJson = ({ jobId, filename, why }: KeptVideo) => ({
  id: jobId as string,
  filename,
  reason: why,
})
