import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, it } from 'vitest'
import { root } from '../../src/config/root.ts'
import { wanctl } from '../support/cli.ts'
import { commandIn, expectToServe } from '../support/installed.ts'
import { aDataDirectory, createShared } from '../support/service.ts'

const shared = createShared()
const run = promisify(execFile)

/** Where somebody has installed the package. */
let directory: string
const installed = () => join(directory, 'node_modules', 'wan-supervisor')

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
  expect(own).toEqual(expect.arrayContaining(['bin/wanctl.js', 'bin/wan.js']))
  expect(own.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))).toEqual([])
  expect(own.filter((path) => path.includes('__pycache__'))).toEqual([])
  const licenses = readFileSync(join(installed(), 'dist', 'licenses.md'), 'utf8')
  expect(licenses).toContain('## kysely - ')
})

it('makes a video with the service that it holds', { timeout: 120_000 }, () =>
  expectToServe(installed(), directory),
)

it('finds out with what it holds what the machine lacks', async () => {
  const env = { GPU_IDS: '0', WAN_DIR: '/nowhere', DATA_DIR: directory }
  const { stdout } = await wanctl([], { command: commandIn(installed(), 'doctor'), env })
  expect(stdout).toMatch(/ python: python3, 3\.\d+/)
})

it('says of each command what it is for', async () => {
  const { code, stdout } = await wanctl([], { command: commandIn(installed(), '--help') })
  expect(code).toBe(0)
  expect(stdout).toContain('generate [options] <prompt>')
})
