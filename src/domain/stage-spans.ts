import { type Stage, stages, type Timestamp, type Trace } from './job.ts'

/** Where the time of an attempt went: each stage that was seen to begin, until the next did. */
export function stageSpans({
  trace,
  claimedAt,
  generatedAt,
  endedAt,
}: Readonly<{
  trace?: Trace | undefined
  claimedAt: Timestamp
  generatedAt?: Timestamp | undefined
  endedAt?: Timestamp | undefined
}>): { stage: Stage; at: Timestamp; until: Timestamp | undefined }[] {
  const began = { ...trace?.began, loading: claimedAt, converting: generatedAt }
  const seen = stages.flatMap((stage) => {
    const at = began[stage]
    return at === undefined ? [] : [{ stage, at }]
  })
  return seen.map((span, index) => ({ ...span, until: seen[index + 1]?.at ?? endedAt }))
}
