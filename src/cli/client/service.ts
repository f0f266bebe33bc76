/** The service as commands talk to it: its typed client, with failures that say what to do. */
import { type Client, createClient, DetailedError, type Problem } from '../../http/typed-client.ts'
import { CommandError, exitCodes } from '../terminal/failure.ts'
import type { OutputOptions } from '../terminal/output.ts'
import { plain } from '../terminal/text.ts'

/** The options that each command about the service has. */
export type ServiceOptions = OutputOptions & Readonly<{ url: string }>

export const defaultUrl = 'http://127.0.0.1:8080'

/** With the token in WAN_TOKEN: an option would show it to everybody on the machine. */
export function connect({ url }: Readonly<{ url: string }>): Client {
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
    const why = `The address of the service must begin with http:// or https://, not ${plain(url)}`
    throw new CommandError(exitCodes.usage, `${why}.`)
  }
  return createClient(url.replace(/\/+$/, ''), { token: process.env.WAN_TOKEN || undefined })
}

/** Nobody answers, or not now; another try may fare better. */
export class UnreachableError extends CommandError {
  constructor(message: string, options?: ErrorOptions) {
    super(exitCodes.unreachable, message, options)
  }
}

/** What was asked for, or a `CommandError` that says why it did not come. */
export async function answerOf<Answer>(asked: Promise<Answer>): Promise<Answer> {
  const answer = await asked.catch((error: unknown) => {
    throw failureOf(error)
  })
  if (typeof answer !== 'string') return answer
  throw new UnreachableError('What answers there is no wan-supervisor. Check WAN_URL.')
}

/** The same where the answer is no document: a log, a file, a stream. `fine`: no failure here. */
export async function responseOf<Answer extends Response>(
  asked: Promise<Answer>,
  fine?: number,
): Promise<Answer> {
  const response = await asked.catch((error: unknown) => {
    throw failureOf(error)
  })
  if (response.ok || response.status === fine) return response
  throw refusal(response.status, await response.json().catch(() => undefined))
}

export function failureOf(error: unknown): unknown {
  if (error instanceof DetailedError) return refusal(error.statusCode, error.detail?.data)
  // That is what fetch throws when a connection fails, at its beginning or later.
  const isFetch = error instanceof TypeError && /^(fetch failed|terminated)$/.test(error.message)
  if (!isFetch) return error
  const cause = error.cause as { code?: string; message?: string } | undefined
  const why = cause?.code ?? cause?.message ?? error.message
  return new UnreachableError(`The service does not answer: ${plain(why)}. Check WAN_URL.`, {
    cause: error,
  })
}

/** From the service while a part of it restarts, or from a proxy while all of it does. */
const passing = new Set([502, 503, 504])

function refusal(status: number, body: unknown): CommandError {
  const { code, detail, title } = (body ?? {}) as Partial<Problem>
  const said = plain(detail ?? title ?? `The service answered with status ${status}.`)
  if (passing.has(status)) return new UnreachableError(said)
  const hint = status === 401 ? ' Set WAN_TOKEN.' : ''
  return new CommandError(exitCodeOf(status), `${said}${hint}${code ? ` (${plain(code)})` : ''}`)
}

function exitCodeOf(status: number) {
  if (status === 401 || status === 403) return exitCodes.unauthorized
  if (status === 404 || status === 410) return exitCodes.notFound
  return exitCodes.failed
}
