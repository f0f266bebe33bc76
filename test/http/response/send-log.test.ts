import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { sendLog } from '../../../src/http/response/send-log.ts'
import { aDataDirectory } from '../../support/service.ts'

const answerFor = (path: string): Promise<Response> =>
  Promise.resolve(new Hono().get('/', (c) => sendLog(c, path)).request('/'))

describe('the log of a job', () => {
  it.each<[string, (path: string) => void]>([
    ['a link to another file', (path) => symlinkSync('/etc/hostname', path)],
    ['a link to a device without an end', (path) => symlinkSync('/dev/zero', path)],
    ['a directory', (path) => mkdirSync(path)],
    ['nothing', () => {}],
  ])('is empty when there is %s in its place', async (_what, put) => {
    const path = join(aDataDirectory(), 'job.log')
    put(path)
    const answer = await answerFor(path)
    expect(answer.status).toBe(200)
    expect(await answer.text()).toBe('')
  })

  it('is sent as it is', async () => {
    const path = join(aDataDirectory(), 'job.log')
    writeFileSync(path, 'a line\n')
    expect(await (await answerFor(path)).text()).toBe('a line\n')
  })
})
