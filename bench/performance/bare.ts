/** `node bare.ts`: what the same HTTP layer does when it has nothing to do: an answer that was made before. */
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

const answer = JSON.parse(process.env.BARE_ANSWER ?? '{}')
const app = new Hono()
app.get('/status/:id', (c) => c.json(answer))
serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }: AddressInfo) => {
  process.stdout.write(`http://127.0.0.1:${port}\n`)
})
