/** The real clients of OpenAI's API, of both generations that are in use, at our service. */
import OpenAI from 'openai'
import OpenAI6 from 'openai-6'
import { expect, vi } from 'vitest'
import type { VideoJson } from '../../src/http/v1/video-view.ts'

export const generations = [
  ['openai 7', OpenAI],
  ['openai 6', OpenAI6 as unknown as typeof OpenAI],
] as const

export type Client = ReturnType<typeof openAiAt>

/** As anybody would build it, but it tells what it sends. */
export function openAiAt(
  Generation: typeof OpenAI,
  url: string,
  apiKey = 'none',
  options: Readonly<{ maxRetries?: number }> = {},
) {
  const sent: string[] = []
  const client = new Generation({
    baseURL: `${url}/v1`,
    apiKey,
    ...options,
    fetch: async (input, init) => {
      // It also asks what it runs on, by fetching nothing at all.
      const { protocol, pathname } = new URL(String(input))
      if (protocol === 'http:') sent.push(`${init?.method ?? 'GET'} ${pathname}`)
      return fetch(input, init)
    },
  })
  return {
    videos: client.videos,
    models: client.models,
    client,
    /** What has been sent since this was last asked. */
    sent: () => sent.splice(0),
  }
}

/** Quick generations, in the words of this API. */
export const quickVideo = { prompt: 'a fox', num_frames: 5, num_inference_steps: 4 } as const

/** Creates what the types of the client do not know, as its users do. */
export const create = (
  { videos }: Pick<Client, 'videos'>,
  fields: object,
  options?: Parameters<typeof videos.create>[1],
) => videos.create({ ...quickVideo, ...fields } as never, options) as unknown as Promise<VideoJson>

export async function untilOver({ videos }: Client, id: string): Promise<VideoJson[]> {
  const seen: VideoJson[] = []
  const isOver = async () => {
    const video = (await videos.retrieve(id)) as unknown as VideoJson
    seen.push(video)
    return video.status === 'completed' || video.status === 'failed'
  }
  await vi.waitUntil(isOver, { timeout: 45_000, interval: 50 }).catch(() => {
    throw new Error(`the video has not come to its end: ${JSON.stringify(seen.at(-1))}`)
  })
  return seen
}

export const lastOf = <T>(list: readonly T[]): T => {
  const last = list.at(-1)
  expect(last).toBeDefined()
  return last as T
}

/** How a call of the client fails. */
export async function failureOf(
  call: Promise<unknown>,
): Promise<InstanceType<typeof OpenAI.APIError>> {
  const outcome = await call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  expect(outcome).toHaveProperty('error')
  return (outcome as { error: InstanceType<typeof OpenAI.APIError> }).error
}
