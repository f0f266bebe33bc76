import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const program = `
  const { listen } = await import(process.argv[1] + '/service/http-server.ts')
  const { getRequestListener } = await import('@hono/node-server')
  const before = Response
  getRequestListener(() => new Response())
  const { RESPONSE_ALREADY_SENT } = await import('@hono/node-server/utils/response')
  console.log(typeof listen, Response !== before, RESPONSE_ALREADY_SENT.constructor === before)
`

it('knows an answer that is sent already, also when the forwarder is loaded after the first listener', async () => {
  const src = new URL('../../../src', import.meta.url).href
  const args = ['--input-type=module', '--eval', program, src]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  expect(stdout.trim()).toBe('function true true')
})
