/** Whether this node still leads, as far as PostgreSQL has confirmed it. */
import type { Standing } from '../../cluster/election.ts'

/** Open streams are silent at most this long before they end. */
const lookMs = 250

/** Calls `onDoubt` each time the node stops being certain, until the returned function is called. */
export function watchCertainty(isCertain: () => boolean, onDoubt: () => void): () => void {
  let wasCertain = isCertain()
  const looking = setInterval(() => {
    const now = isCertain()
    if (wasCertain && !now) onDoubt()
    wasCertain = now
  }, lookMs).unref()
  return () => clearInterval(looking)
}

export const leadsForCertain = (standing: Standing | undefined): boolean =>
  standing?.role === 'leads' && standing.isCertain
