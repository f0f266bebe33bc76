/** What answers are made of. */
import * as v from 'valibot'
import { generationStartKinds, type Timestamp } from '../../domain/job.ts'

export const Time = v.pipe(v.string(), v.isoTimestamp())

export const Count = v.pipe(v.number(), v.integer(), v.minValue(0))

export const Uuid = v.pipe(v.string(), v.uuid())

export const StartKind = v.pipe(
  v.picklist(generationStartKinds),
  v.description('start of the generation: `warm` if it was forked from a template'),
)

export const isoTime = (at: Timestamp): string => new Date(at).toISOString()

export const iso = (at: Timestamp | undefined): string | null =>
  at === undefined ? null : isoTime(at)
