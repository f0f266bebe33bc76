/** Who asks, and which jobs they may know of. */
import { RefusalError } from './errors.ts'
import type { JobId } from './job.ts'

/** Whoever a request comes from; without tokens everybody is an admin, and nobody has a name. */
export type Client = Readonly<{ address: string }> &
  Readonly<{ name: string; isAdmin: boolean } | { name: null; isAdmin: true }>

/** A client as the configuration knows it. */
export type TokenHolder = Readonly<{
  name: string
  isAdmin: boolean
  /** SHA-256 of the token, which itself is kept nowhere. */
  tokenDigest: Buffer
}>

/** One word for whoever a request comes from; no name looks like an address. */
export const callerOf = ({ name, address }: Client): string =>
  name === null ? `address ${address}` : `client ${name}`

/** Which jobs a message is about at most: to it, there are no others. */
export type Scope = 'everything' | Readonly<{ owner: string }> | Readonly<{ jobId: JobId }>

/** Whatever asks about jobs or changes them says on whose behalf. */
export type Scoped = Readonly<{ scope: Scope }>

/** The request that a change was asked for in, so that the log can be read from one to the other. */
export type Caused = Readonly<{ requestId?: string }>

export const causeOf = ({ requestId }: Caused): Caused =>
  requestId === undefined ? {} : { requestId }

export const scopeOf = (client: Client): Scope =>
  client.isAdmin ? 'everything' : { owner: client.name }

/** One word for each. */
export const nameOf = (scope: Scope): string =>
  scope === 'everything' ? '' : 'owner' in scope ? `owner ${scope.owner}` : `job ${scope.jobId}`

/** For those who say "all" and mean everybody's. */
export const everything = (client: Client): Scope | RefusalError =>
  client.isAdmin
    ? 'everything'
    : new RefusalError('forbidden', 'all: only an admin may say all=true; name ids or a status.', {
        field: 'all',
      })

/** `owner` is null for a job that was submitted while nobody was asked for a token. */
export function covers(scope: Scope, job: { jobId: JobId; owner: string | null }): boolean {
  if (scope === 'everything') return true
  return 'owner' in scope ? job.owner === scope.owner : job.jobId === scope.jobId
}
