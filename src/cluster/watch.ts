/**
 * Whether something stands still, by the monotonic clock of the observer alone. Only time between looks that
 * succeeded counts: while the observer could not look, the observed may have been unable to move for the same reason.
 */

/** When a question was sent and when its answer arrived, in milliseconds of the monotonic clock. */
export type Look = Readonly<{ askedAt: number; answeredAt: number }>

export type Watch = Readonly<{
  /** All that moves. */
  key: string
  /** The key was seen no later than this, and no earlier than `until`. */
  since: number
  until: number
  answeredAt: number
}>

/** Part of the time without movement that may pass between two answers: the observed moves several times in it. */
const maxGapShare = 0.5

/**
 * The watch after one more look, for something that is lost when it stands still for `lostMs`. After a look that
 * failed there is no `before`. A gap between two answers starts the watch again: the process was stopped, or the
 * database did not answer.
 */
export function watch(
  before: Watch | undefined,
  key: string,
  { askedAt, answeredAt }: Look,
  lostMs: number,
): Watch {
  const continues =
    before !== undefined &&
    before.key === key &&
    answeredAt - before.answeredAt <= lostMs * maxGapShare
  return { key, since: continues ? before.since : answeredAt, until: askedAt, answeredAt }
}

/** For how long it has stood still at least. */
export const stillMs = ({ since, until }: Watch): number => Math.max(0, until - since)
