/**
 * Whether a file name is free. It is held by
 *
 * - a submission that is being prepared (`reserved`),
 * - a waiting or running job that asked for it (`names`),
 * - a finished job, until the removal of its file is committed (`QueueStore.isNamePromised`),
 * - anything in the directory of results.
 *
 * Names are compared by their keys, so that two names are never one file on another file system.
 * A submission reserves its name before store and disk are checked, and keeps it until its job is
 * stored. So no other job can get the name and finish in between, and a name is given once.
 */
import { nameKey } from '../../../domain/filename.ts'
import type { JobId } from '../../../domain/job.ts'
import type { ActorRef } from '../../actor.ts'
import { get, remove, set } from '../../ordered-map.ts'
import type { QueueStore, ResultFiles } from '../queue-ports.ts'
import type { SubmitAnswer } from '../queue-protocol.ts'
import type { QueueState } from '../queue-state.ts'

type Submitter = ActorRef<SubmitAnswer>

/** Reserves a name; `undefined`: another submission or job holds it. */
export function reserveName(
  state: QueueState,
  filename: string,
  by: Submitter,
): QueueState | undefined {
  const key = nameKey(filename)
  if (get(state.names, key) !== undefined || get(state.reserved, key)) return undefined
  return { ...state, reserved: set(state.reserved, key, by) }
}

/** Whether a finished job or a file holds the name. */
export const isNameKept = async (
  { store, results }: Readonly<{ store: Pick<QueueStore, 'isNamePromised'>; results: ResultFiles }>,
  filename: string,
): Promise<boolean> => (await store.isNamePromised(filename)) || (await results.exists(filename))

/** `nobody`: the queue has been loaded again and the reservation is lost. */
export function holderOf(
  { names, reserved }: QueueState,
  filename: string,
  submitter: Submitter,
): 'submitter' | 'another' | 'nobody' {
  const key = nameKey(filename)
  const holder = get(reserved, key)
  if (holder) return holder === submitter ? 'submitter' : 'another'
  return get(names, key) === undefined ? 'nobody' : 'another'
}

/** Ends the reservation of a submission that is not taken. */
export const releaseName = (
  state: QueueState,
  filename: string | undefined,
  by: Submitter,
): QueueState =>
  filename !== undefined && get(state.reserved, nameKey(filename)) === by
    ? { ...state, reserved: remove(state.reserved, nameKey(filename)) }
    : state

/** Turns a reservation into the name of a waiting job. */
export const promiseName = (
  state: QueueState,
  filename: string | undefined,
  jobId: JobId,
): QueueState => {
  if (filename === undefined) return state
  const key = nameKey(filename)
  return {
    ...state,
    names: set(state.names, key, jobId),
    reserved: remove(state.reserved, key),
  }
}

/** The job has ended. From now on its record in the store holds the name, if it has a video. */
export function forgetName(
  state: QueueState,
  { filename, jobId }: Readonly<{ filename: string | undefined; jobId: JobId }>,
): QueueState {
  if (filename === undefined) return state
  const key = nameKey(filename)
  // Of two jobs from an earlier version, the other one may hold it.
  return get(state.names, key) === jobId ? { ...state, names: remove(state.names, key) } : state
}
