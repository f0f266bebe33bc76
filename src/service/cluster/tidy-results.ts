import { messageOf } from '../../domain/errors.ts'
import type { Logger } from '../../domain/log.ts'
import { type LeftoverOptions, removeLeftoverResults } from '../../infra/media/leftover-results.ts'

/** Removes leftovers from a directory of results. Never rejects: the log says what was removed, or why nothing was. */
export async function tidyResults(options: LeftoverOptions, log: Logger): Promise<void> {
  try {
    const removed = await removeLeftoverResults(options)
    if (removed.length > 0) log.warn({ removed }, 'videos that were not recorded were removed')
  } catch (error) {
    log.warn({ error: messageOf(error) }, 'the directory of results could not be looked through')
  }
}
