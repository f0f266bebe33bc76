import * as v from 'valibot'
import type { DeletedVideo, KeptVideo } from '../../actors/archive/archive-protocol.ts'
import { Uuid } from './words.ts'

/** Files that a deletion has left where they are. Absent when there are none. */
export const KeptFilesJson = v.pipe(
  v.array(v.object({ id: Uuid, filename: v.string(), reason: v.string() })),
  v.description('files that could not be deleted, or that are not the video of their job'),
)

/** Absent when there are none. */
export const UnconfirmedFilesJson = v.pipe(
  v.array(v.object({ id: Uuid, filename: v.string() })),
  v.description(
    'files whose machine has not answered: they are deleted, or listed again when it has; repeat the request',
  ),
)

export const unconfirmedFileJson = ({ jobId, filename }: DeletedVideo) => ({
  id: jobId as string,
  filename,
})

/** Longer than a machine may take to answer. */
export const deletionWithinMs = 60_000

export const keptFileJson = ({ jobId, filename, why }: KeptVideo) => ({
  id: jobId as string,
  filename,
  reason: why,
})
