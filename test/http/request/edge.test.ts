import type { Context } from 'hono'
import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { bodyOf } from '../../../src/http/request/edge.ts'

describe('a body', () => {
  it('is refused as soon as more has come than is allowed', async () => {
    expect(await read(aBody([60, 40]), 100)).toBe(100)
    await expect(read(aBody([60, 41]), 100)).rejects.toMatchObject({ code: 'body_too_large' })
  })

  it('has to wait when too much is coming in already, unless it is small', async () => {
    const mib = 1024 * 1024
    const large = Array.from({ length: 20 }, () => mib)
    // Each is begun and stays open, as one on a slow line does.
    const open = await Promise.all(
      Array.from({ length: 13 }, async () => {
        const body = bodyOf(await aBody(large), 21 * mib)
        for (let chunk = 0; chunk < 19; chunk++) await body.next()
        return body
      }),
    )
    await expect(read(aBody(large), 21 * mib)).rejects.toMatchObject({ code: 'service_busy' })
    expect(await read(aBody([1_000]), 21 * mib)).toBe(1_000)

    for (const body of open) await body.return()
    expect(await read(aBody(large), 21 * mib)).toBe(20 * mib)
  })
})

type Body = Context

async function read(body: Promise<Body>, largest: number): Promise<number> {
  let bytes = 0
  for await (const chunk of bodyOf(await body, largest)) bytes += chunk.length
  return bytes
}

/** What a handler is given with a request of so many bytes in each piece. */
async function aBody(pieces: readonly number[]): Promise<Body> {
  const left = [...pieces]
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const next = left.shift()
      if (next === undefined) controller.close()
      else controller.enqueue(new Uint8Array(next))
    },
  })
  return new Promise((resolve) => {
    const app = new Hono().post('/', (c) => {
      resolve(c)
      return c.text('')
    })
    void app.request('/', { method: 'POST', body, duplex: 'half' } as RequestInit)
  })
}
