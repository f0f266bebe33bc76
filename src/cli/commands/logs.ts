/** `wanctl logs`: once, or until nothing more can come. */
import { setTimeout as delay } from 'node:timers/promises'
import { createLogReader, type LogPiece } from '../../http/response/log-reader.ts'
import { type Client, parseResponse } from '../../http/typed-client.ts'
import { isOver } from '../client/follow.ts'
import { findJobId, shortId } from '../client/job-reference.ts'
import {
  answerOf,
  connect,
  failureOf,
  responseOf,
  type ServiceOptions,
  UnreachableError,
} from '../client/service.ts'
import { listenForInterruption, unlessInterrupted } from '../terminal/interruption.ts'
import { type OutputOptions, say, show, showEvent } from '../terminal/output.ts'
import { plainLines } from '../terminal/text.ts'

/** Between two looks at a log that grows. */
const lookAgainMs = 1_000

export async function logs(
  reference: string,
  { follow = false, ...options }: ServiceOptions & Readonly<{ follow?: boolean }>,
): Promise<void> {
  const api = connect(options)
  const id = await findJobId(api, reference)
  if (!follow) {
    const text = await (await responseOf(api.jobs[':id'].log.$get({ param: { id } }))).text()
    if (options.json) show({ id, log: text }, options, () => '')
    else process.stdout.write(plainLines(text))
    return
  }
  using interruption = listenForInterruption(() => `Job ${shortId(id)} goes on.`)
  await unlessInterrupted(interruption, () => followLog(api, id, options, interruption.signal))
}

async function followLog(
  api: Client,
  id: string,
  { json }: OutputOptions,
  signal: AbortSignal,
): Promise<void> {
  const reader = createLogReader((headers) =>
    responseOf(api.jobs[':id'].log.$get({ param: { id } }, { headers }), 416),
  )
  const lines = createLines()
  let isLost = false
  for (;;) {
    try {
      // Asked before the log: of a job that is over by then, nothing can come after it.
      const job = await answerOf(parseResponse(api.status[':id'].$get({ param: { id } })))
      const piece = await reader.read()
      for (const line of lines.newIn(piece, isOver(job))) {
        if (json) showEvent({ event: 'line', line })
        else process.stdout.write(`${plainLines(line)}\n`)
      }
      if (isOver(job)) return
      isLost = false
    } catch (error) {
      const failure = failureOf(error)
      if (!(failure instanceof UnreachableError)) throw failure
      if (!isLost) say(`${failure.message} Waiting for it.`)
      isLost = true
    }
    await delay(lookAgainMs, undefined, { signal })
  }
}

/** The lines of a log that have not been shown yet. */
function createLines() {
  const shown = new Map<string, number>()
  let counts = new Map<string, number>()
  let rest = ''

  return {
    /**
     * Of a log that is read anew, those that have not been shown as often as they are there: it need
     * not be in the order that it was in.
     */
    newIn({ text, isAnew }: LogPiece, isLast: boolean): string[] {
      if (isAnew) {
        counts = new Map()
        rest = ''
      }
      const lines = `${rest}${text}`.split('\n')
      rest = lines.pop() ?? ''
      if (isLast && rest) lines.push(rest)
      return lines.filter((line) => {
        const count = (counts.get(line) ?? 0) + 1
        counts.set(line, count)
        if (count <= (shown.get(line) ?? 0)) return false
        shown.set(line, count)
        return true
      })
    },
  }
}
