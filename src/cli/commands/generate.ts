/** `wanctl generate` and `wanctl wait`: from a prompt to a file. */
import { randomUUID } from 'node:crypto'
import { constants, openAsBlob } from 'node:fs'
import { access } from 'node:fs/promises'
import { basename } from 'node:path'
import {
  type Client,
  type InferRequestType,
  type Job,
  parseResponse,
} from '../../http/typed-client.ts'
import { cannot, download, type Target, targetOf } from '../download.ts'
import { CommandError, exitCodes } from '../failure.ts'
import { follow, isOver } from '../follow.ts'
import { type Interruption, listenForInterruption, unlessInterrupted } from '../interruption.ts'
import { findJobId, shortId } from '../job-reference.ts'
import { type OutputOptions, say, show, showEvent } from '../output.ts'
import { createProgress, etaText, placeText } from '../progress.ts'
import { answerOf, connect, UnreachableError } from '../service.ts'
import { plain } from '../text.ts'

type Wish = InferRequestType<Client['generate']['$post']>['json']

type Waiting = OutputOptions & Readonly<{ url: string; output?: string; force?: boolean }>

export type GenerateOptions = Waiting &
  Readonly<{
    size: Wish['size']
    seed?: number
    steps?: number
    frames?: number
    image?: string
    wait?: boolean
  }>

export async function generate(prompt: string, options: GenerateOptions): Promise<void> {
  const { url, output, force = false, wait, json } = options
  const api = connect({ url })
  const target = output === undefined ? undefined : await targetOf(output, force)
  const taken = await submit(api, prompt, options)
  const { id } = taken
  if (!wait && !target) {
    const standing = `Taken: ${taken.status}${placeText(taken)}`
    const words = [standing, etaText(taken, 0)].filter(Boolean).join(', ')
    say(`${words}. Wait for it: wanctl wait ${shortId(id)}`)
    show(taken, options, () => id)
    return
  }
  if (json) showEvent({ event: 'accepted', job: taken })
  else say(`Job ${id} is taken.`)
  await waitForVideo(api, id, target, options)
}

export async function wait(reference: string, options: Waiting): Promise<void> {
  const { url, output, force = false } = options
  const api = connect({ url })
  const target = output === undefined ? undefined : await targetOf(output, force)
  await waitForVideo(api, await findJobId(api, reference), target, options)
}

async function submit(api: Client, prompt: string, options: GenerateOptions) {
  const { size, seed, steps, frames, image } = options
  const wish = {
    prompt,
    size,
    ...(seed !== undefined && { seed }),
    ...(steps !== undefined && { steps }),
    ...(frames !== undefined && { frames }),
  }
  const body = image === undefined ? undefined : await formOf(wish, image)
  const headers = { 'Idempotency-Key': randomUUID() }
  const send = () =>
    answerOf(
      parseResponse(
        body
          ? api.generate.$post({} as never, { headers, init: { body } })
          : api.generate.$post({ json: wish }, { headers }),
      ),
    )
  return send().catch((error: unknown) => {
    // Its answer may be all that was lost: the key lets it be asked for again.
    const wasHeard = error instanceof UnreachableError && !isRefusedConnection(error)
    if (wasHeard) return send()
    throw error
  })
}

const isRefusedConnection = ({ message }: UnreachableError): boolean =>
  /ECONNREFUSED|ENOTFOUND|EAI_AGAIN/.test(message)

async function formOf(wish: object, image: string): Promise<FormData> {
  const readable = access(image, constants.R_OK)
  const picture = await readable
    .then(() => openAsBlob(image))
    .catch((error: Error) => {
      throw cannot(`read ${image}`, error)
    })
  const form = new FormData()
  for (const [name, value] of Object.entries(wish)) form.set(name, String(value))
  form.set('image', picture, basename(image))
  return form
}

async function waitForVideo(
  api: Client,
  id: string,
  target: Target | undefined,
  options: Waiting,
): Promise<void> {
  const again = target ? ` -o ${plain(target.path)}` : ''
  using interruption = listenForInterruption(
    () =>
      `Job ${shortId(id)} goes on without this terminal. ` +
      `Wait for it again: wanctl wait ${shortId(id)}${again}   Cancel it: wanctl cancel ${shortId(id)}`,
  )
  const job = await lastSightOf(api, id, options, interruption)
  if (job.status !== 'success') throw failedJob(job)
  const saved =
    target &&
    (await unlessInterrupted(interruption, () => download(api, job, target, interruption.signal)))
  if (options.json) {
    if (saved !== undefined) showEvent({ event: 'saved', job, path: saved })
  } else process.stdout.write(`${plain(saved ?? job.file_url ?? id)}\n`)
}

async function lastSightOf(
  api: Client,
  id: string,
  { json }: OutputOptions,
  interruption: Interruption,
): Promise<Job> {
  const progress = createProgress()
  try {
    return await unlessInterrupted(interruption, async () => {
      for await (const sighting of follow(api, id, interruption.signal)) {
        progress.see(sighting)
        if (sighting.event === 'lost') continue
        if (json) showEvent(sighting)
        if (isOver(sighting.job)) return sighting.job
      }
      return answerOf(parseResponse(api.status[':id'].$get({ param: { id } })))
    })
  } finally {
    progress.end()
  }
}

function failedJob({ id, status, error }: Job): CommandError {
  const why = error ? `${plain(error.message)} (${error.code})` : 'It was canceled.'
  const log = `wanctl logs ${shortId(id)} has more.`
  const text = status === 'canceled' ? why : `The job failed: ${why} ${log}`
  return new CommandError(exitCodes.failed, text)
}
