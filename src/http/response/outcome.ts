/** Answers of actors at the boundary: a refusal or a missing thing becomes an exception. */
import { hasExpired, RefusalError } from '../../domain/errors.ts'
import { type Expired, isExpired } from '../../domain/job.ts'

export function orThrow<Answer>(answer: Answer | RefusalError): Exclude<Answer, RefusalError> {
  if (answer instanceof RefusalError) throw answer
  return answer as Exclude<Answer, RefusalError>
}

/** What is told of a thing that was there once is that, and not that it never was. */
export function found<Thing>(
  thing: Thing,
  refusal: () => RefusalError,
): Exclude<Thing, Expired | undefined> {
  if (thing === undefined) throw refusal()
  if (isExpired(thing)) throw hasExpired(thing)
  return thing as Exclude<Thing, Expired | undefined>
}
