import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, it } from 'vitest'
import { root } from '../../src/config/root.ts'
import { bundleInto } from '../support/installed.ts'
import { aDataDirectory, createShared, type Service, startService } from '../support/service.ts'

const shared = createShared()
const run = promisify(execFile)
const tsc = (...args: string[]) =>
  run(join(root, 'node_modules', '.bin', 'tsc'), args, { cwd: root }).catch(
    ({ stdout, stderr }) => {
      throw new Error(`${stdout}${stderr}`)
    },
  )

const token = `token-of-ada-${crypto.randomUUID()}`

/** As somebody would write it who has installed the package. */
const program = `
import { createClient, DetailedError, type Job, parseResponse } from 'wan-supervisor/client'

const client = createClient(process.argv[2] ?? '', { token: process.argv[3] ?? '' })
const { id } = await parseResponse(
  client.generate.$post({ json: { prompt: 'a fox', size: '1280x720', frames: 5, steps: 4 } }),
)
let job: Job
do {
  await new Promise((resolve) => setTimeout(resolve, 50))
  job = await parseResponse(client.status[':id'].$get({ param: { id } }))
} while (job.status === 'queued' || job.status === 'running')

const { jobs } = await parseResponse(client.jobs.$get({ query: { status: 'success' } }))
const log = await (await client.jobs[':id'].log.$get({ param: { id } })).text()
const nobody = await client.status[':id'].$get({ param: { id: crypto.randomUUID() } })
const refusal = await parseResponse(client.gpus.$get()).catch((error: DetailedError) => error)

console.log(JSON.stringify({
  status: job.status,
  listed: jobs.map((one) => one.id === id),
  logged: log.includes('a fox'),
  nobody: nobody.status,
  refusal: refusal instanceof DetailedError ? [refusal.statusCode, refusal.detail] : refusal,
}))
`

let service: Service
let directory: string
beforeAll(async () => {
  service = await startService({
    atEnd: shared.atEnd,
    env: { GPU_IDS: '0', API_TOKENS: `ada:${token}` },
  })
  directory = aDataDirectory(shared.atEnd)
  const modules = join(directory, 'node_modules')
  const installed = join(modules, 'wan-supervisor')
  mkdirSync(installed, { recursive: true })
  copyFileSync(join(root, 'package.json'), join(installed, 'package.json'))
  // What npm would have installed with it, and what a program in TypeScript brings itself.
  symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'))
  symlinkSync(join(root, 'node_modules', '@types'), join(modules, '@types'))
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(directory, 'program.ts'), program)
  await tsc('-p', join(root, 'tsconfig.build.json'), '--outDir', join(installed, 'dist', 'types'))
  await bundleInto(join(installed, 'dist'))
  return shared.clearAway
})

it('serves a program that has installed the package, and knows its types', async () => {
  const strict = [
    '--ignoreConfig',
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2023',
  ]
  await tsc(...strict, '--types', 'node', join(directory, 'program.ts'))
  const args = [join(directory, 'program.ts'), service.url, token]
  const { stdout } = await run(process.execPath, args)
  expect(JSON.parse(stdout)).toEqual({
    status: 'success',
    listed: [true],
    logged: true,
    nobody: 404,
    refusal: [
      403,
      { data: expect.objectContaining({ code: 'forbidden' }), statusText: 'Forbidden' },
    ],
  })
})
