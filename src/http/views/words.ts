/** What answers are made of. */
import * as v from 'valibot'

export const Time = v.pipe(v.string(), v.isoTimestamp())

export const Count = v.pipe(v.number(), v.integer(), v.minValue(0))

export const Uuid = v.pipe(v.string(), v.uuid())
