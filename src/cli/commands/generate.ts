/** `wanctl generate`: from a prompt to a job, or to a file. */
import { randomUUID } from 'node:crypto'
import { constants, openAsBlob } from 'node:fs'
import { access } from 'node:fs/promises'
import { basename } from 'node:path'
import { type Client, type InferRequestType, parseResponse } from '../../http/typed-client.ts'
import { cannot, targetOf } from '../client/download.ts'
import { shortId } from '../client/job-reference.ts'
import { etaText, placeText } from '../client/progress.ts'
import { answerOf, connect, UnreachableError } from '../client/service.ts'
import { type WaitOptions, waitForVideo } from '../client/wait-for-video.ts'
import { say, show, showEvent } from '../terminal/output.ts'

type Wish = InferRequestType<Client['generate']['$post']>['json']

export type GenerateOptions = WaitOptions &
  Readonly<{
    size: Wish['size']
    negativePrompt?: string
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

async function submit(api: Client, prompt: string, options: GenerateOptions) {
  const { size, negativePrompt, seed, steps, frames, image } = options
  const wish = {
    prompt,
    size,
    ...(negativePrompt !== undefined && { negative_prompt: negativePrompt }),
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
