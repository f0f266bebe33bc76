/** The service as this page talks to it. */
import { signal } from '@preact/signals'
import type { ClientResponse } from 'hono/client'
import {
  createClient,
  DetailedError,
  type InferResponseType,
  type Problem,
  parseResponse,
} from '../http/typed-client.ts'

/** Where the page is, and so the API: behind a proxy both may lie under a prefix. */
const base = new URL('.', document.baseURI).href

const tokenKey = 'wan-token'

/** Kept for this tab only. */
export const token = signal(sessionStorage.getItem(tokenKey) ?? undefined)

/** The service asks for a token, and has none of us that it knows. */
export const isLockedOut = signal(false)

export const authorization = (): Record<string, string> =>
  token.value === undefined ? {} : { Authorization: `Bearer ${token.value}` }

/** Longer than any answer takes to what goes through it: files go by themselves. */
const patienceMs = 60_000

export const api = createClient(base, {
  headers: authorization,
  fetch: (input: RequestInfo | URL, init?: RequestInit) =>
    fetch(input, { ...init, signal: AbortSignal.timeout(patienceMs) }),
})

/** Counts the requests to which there was no answer. */
export const unanswered = signal(0)

/** Who we are to the service, so that nothing is asked for in vain; `undefined`: not known yet. */
export const client = signal<InferResponseType<typeof api.whoami.$get, 200> | undefined>(undefined)

export const urlOf = (path: string): string => new URL(path, base).href

/** A link that the service gave out, by the way that this page came: `HOST_BASE_URL` may name another. */
export function linkTo(given: string): string {
  const { pathname, search } = new URL(given, base)
  const own = /\/(?:files|jobs)\/.*$/.exec(pathname)?.[0] ?? pathname
  return urlOf(`${own.slice(1)}${search}`)
}

/** Why something was not done, in words for whoever wanted it. */
export type Fault = Readonly<{ status: number; code: string; text: string; field?: string }>

export const isFault = (error: unknown): error is Fault =>
  typeof error === 'object' && error !== null && 'status' in error && 'text' in error

/** What was asked for; throws a `Fault`. */
export async function answerTo<Asked extends ClientResponse<unknown>>(
  asked: Asked | Promise<Asked>,
) {
  try {
    return await parseResponse(asked)
  } catch (error) {
    throw faultOf(error)
  }
}

export function faultOf(error: unknown): Fault {
  if (isFault(error)) return error
  if (!(error instanceof DetailedError)) {
    unanswered.value += 1
    return { status: 0, code: 'unreachable', text: 'The service cannot be reached. Try again.' }
  }
  const status = error.statusCode ?? 500
  const { code = 'unknown', detail, field } = (error.detail?.data ?? {}) as Partial<Problem>
  if (status === 401) lockOut()
  return {
    status,
    code,
    text: detail ?? `The service answered ${status}. Try again; its log may say more.`,
    ...(field !== undefined && { field }),
  }
}

export function lockOut(): void {
  sessionStorage.removeItem(tokenKey)
  token.value = undefined
  client.value = undefined
  isLockedOut.value = true
}

/** Learns who we are, or that a token is needed first. */
export async function introduce(): Promise<void> {
  const told = await answerTo(api.whoami.$get())
  if (told.needs_token) lockOut()
  else client.value = told
}

/** Tries the token before it is kept. */
export async function signIn(given: string): Promise<void> {
  token.value = given
  await introduce()
  sessionStorage.setItem(tokenKey, given)
  isLockedOut.value = false
}
