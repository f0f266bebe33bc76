/** `wan logs`: once, or until nothing more can come. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Client, parseResponse } from '../../http/typed-client.ts'
import { isOver } from '../follow.ts'
import { listenForInterruption, unlessInterrupted } from '../interruption.ts'
import { findJobId, shortId } from '../job-reference.ts'
import { type OutputOptions, say, show, showEvent } from '../output.ts'
import { answerOf, connect, responseOf, UnreachableError } from '../service.ts'
import { plainLines } from '../text.ts'

type Options = OutputOptions & Readonly<{ url: string }>

/** Between two looks at a log that grows. */
const lookAgainMs = 1_000

export async function logs(
  reference: string,
  { follow = false, ...options }: Options & Readonly<{ follow?: boolean }>,
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
  const shown = new Map<string, number>()
  let isLost = false
  for (;;) {
    try {
      // Asked before the log: of a job that is over by then, nothing can come after it.
      const job = await answerOf(parseResponse(api.status[':id'].$get({ param: { id } })))
      const log = await (await responseOf(api.jobs[':id'].log.$get({ param: { id } }))).text()
      for (const line of newLines(log, shown, isOver(job))) {
        if (json) showEvent({ event: 'line', line })
        else process.stdout.write(`${plainLines(line)}\n`)
      }
      if (isOver(job)) return
      isLost = false
    } catch (error) {
      if (!(error instanceof UnreachableError)) throw error
      if (!isLost) say(`${error.message} Waiting for it.`)
      isLost = true
    }
    await delay(lookAgainMs, undefined, { signal })
  }
}

/**
 * The lines that have not been shown as often as they are there. Not by their place: a service that
 * takes up a generation again writes its log anew, and perhaps in another order.
 */
function newLines(log: string, shown: Map<string, number>, isWhole: boolean): string[] {
  const lines = log.split('\n')
  const last = lines.pop()
  if (isWhole && last) lines.push(last)
  const counts = new Map<string, number>()
  return lines.filter((line) => {
    const count = (counts.get(line) ?? 0) + 1
    counts.set(line, count)
    if (count <= (shown.get(line) ?? 0)) return false
    shown.set(line, count)
    return true
  })
}
