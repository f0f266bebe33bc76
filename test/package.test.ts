import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, it } from 'vitest'
import { beginWan, wan } from './support/cli.ts'
import { aDataDirectory, createShared, killLeftovers } from './support/service.ts'

const root = join(import.meta.dirname, '..')
const shared = createShared()
const run = promisify(execFile)

/** Where somebody has installed the package. */
let directory: string
const installed = () => join(directory, 'node_modules', 'wan-supervisor')
const command = (...args: readonly string[]) => [
  process.execPath,
  join(installed(), 'bin', 'wan.js'),
  ...args,
]

beforeAll(async () => {
  directory = aDataDirectory(shared.atEnd)
  mkdirSync(installed(), { recursive: true })
  await run('npm', ['pack', '--silent', '--pack-destination', directory], { cwd: root })
  const [tarball = ''] = readdirSync(directory).filter((name) => name.endsWith('.tgz'))
  await run('tar', ['xzf', join(directory, tarball), '-C', installed(), '--strip-components=1'])
  // What npm would have installed with it.
  symlinkSync(join(root, 'node_modules'), join(installed(), 'node_modules'))
  return shared.clearAway
}, 120_000)

it('holds what it needs to run, and no source that Node would not run there', async () => {
  const parts = readdirSync(installed())
  expect(parts).toEqual(expect.arrayContaining(['LICENSE', 'bin', 'dist', 'docs', 'sim']))
  for (const part of ['src', 'test', 'bench', 'data']) expect(parts).not.toContain(part)
  const files = readdirSync(installed(), { recursive: true, encoding: 'utf8' })
  const own = files.filter((path) => !path.startsWith('node_modules'))
  expect(own.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))).toEqual([])
  expect(own.filter((path) => path.includes('__pycache__'))).toEqual([])
})

it('makes a video with the service that it holds', { timeout: 120_000 }, async () => {
  const dataDir = join(directory, 'data')
  const env = { PORT: '0', DATA_DIR: dataDir, SIM_SPEED: '1000' }
  const service = beginWan([], { command: command('serve', '--sim'), cwd: directory, env })
  try {
    await service.says('"listening"')
    const [, url = ''] = /"url":"([^"]+)"/.exec(service.stdout()) ?? []
    const args = ['generate', 'a fox', '-o', 'x.mp4', '--frames', '5']
    const made = await wan([], { command: command(...args), url, cwd: directory })
    expect(made).toMatchObject({ code: 0, stdout: 'x.mp4\n' })
    const page = await fetch(`${url}/docs/page.css`)
    expect(page.status).toBe(200)
    const [, script] = /src="([^"]+\.js)"/.exec(await (await fetch(url)).text()) ?? []
    expect((await fetch(new URL(String(script), url))).status).toBe(200)
    const status = await wan([], { command: command('status', '--json'), url })
    expect(JSON.parse(status.stdout)).toMatchObject({ ready: true, version: '0.1.0' })
    service.child.kill('SIGTERM')
    expect((await service.end()).code).toBe(0)
  } finally {
    killLeftovers(dataDir)
  }
})

it('says of each command what it is for', async () => {
  const { code, stdout } = await wan([], { command: command('--help') })
  expect(code).toBe(0)
  expect(stdout).toContain('generate [options] <prompt>')
})
