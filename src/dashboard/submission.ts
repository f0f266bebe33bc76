/** A new job: as the form has it, or after one that there was before. */
import { signal } from '@preact/signals'
import type { InferResponseType, Job } from '../http/typed-client.ts'
import { answerTo, api, authorization, faultOf, urlOf } from './api.ts'
import { notify } from './notices.ts'
import { queueRefresher } from './state.ts'

export type Draft = Readonly<{
  prompt: string
  negative_prompt?: string
  size: Job['size']
  steps?: number
  seed?: number
  frames?: number
  guidance?: number
  shift?: number
}>

export type Accepted = InferResponseType<typeof api.generate.$post, 202>

/** What the form is to be filled with. */
export const wanted = signal<Draft | undefined>(undefined)

/** Sent twice with the same key, it is still one job. */
export async function submit(draft: Draft, key: string, image?: File): Promise<Accepted> {
  const headers = { 'Idempotency-Key': key }
  const answer = image
    ? await sendForm({ ...draft, image }, headers)
    : await answerTo(api.generate.$post({ json: draft }, { headers }))
  queueRefresher.soon()
  return answer
}

/** Not only where crypto.randomUUID is: it asks for HTTPS. */
export const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('-')

/** The same once more; with `seed: 'new'` another video of the same words. */
export async function repeat(jobId: string, seed: 'same' | 'new'): Promise<void> {
  try {
    const job = await answerTo(api.status[':id'].$get({ param: { id: jobId } }))
    const { seed: before, ...rest } = draftOf(job)
    const draft = seed === 'same' && before !== undefined ? { ...rest, seed: before } : rest
    if (job.image) {
      wanted.value = draft
      notify({
        tone: 'plain',
        text: 'Images are not kept: choose it again in the form, then submit.',
      })
      return
    }
    const { id } = await submit(draft, newKey())
    const text = seed === 'same' ? 'Queued once more' : 'Queued with another seed'
    notify({ tone: 'good', text, job: { id, prompt: job.prompt } })
  } catch (error) {
    notify({ tone: 'bad', text: faultOf(error).text })
  }
}

export const draftOf = (job: Job): Draft => {
  const { prompt, negative_prompt, size, steps, seed, frames, guidance, shift } = job
  return {
    prompt,
    ...(negative_prompt !== null && { negative_prompt }),
    size,
    steps,
    seed,
    frames,
    ...(guidance !== null && { guidance }),
    ...(shift !== null && { shift }),
  }
}

async function sendForm(
  fields: Readonly<Record<string, string | number | File>>,
  headers: Record<string, string>,
): Promise<Accepted> {
  const body = new FormData()
  for (const [name, value] of Object.entries(fields)) {
    body.append(name, value instanceof File ? value : String(value))
  }
  const asked = fetch(urlOf('generate'), {
    method: 'POST',
    headers: { ...headers, ...authorization() },
    body,
  })
  return (await answerTo(asked as ReturnType<typeof api.generate.$post>)) as Accepted
}
