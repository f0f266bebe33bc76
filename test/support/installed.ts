/** The service where somebody has installed it, far from its checkout. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'vitest'
import { root } from '../../src/config/root.ts'
import { beginWanctl, wanctl } from './cli.ts'
import { killLeftovers } from './service.ts'

/** What is built of the sources as they are, in a place of its own. */
export const bundleInto = (dist: string) =>
  promisify(execFile)('npm', ['run', 'bundle', '--', '--outDir', dist], { cwd: root })

export const commandIn = (installed: string, ...args: readonly string[]): readonly string[] => [
  process.execPath,
  join(installed, 'bin', 'wanctl.js'),
  ...args,
]

/** Whatever the service reads beside its code shows here when it is missing. */
export async function expectToServe(installed: string, directory: string): Promise<void> {
  const dataDir = join(directory, 'data')
  const env = { PORT: '0', DATA_DIR: dataDir, SIM_SPEED: '1000' }
  const command = commandIn(installed, 'serve', '--sim')
  const service = beginWanctl([], { command, cwd: directory, env })
  try {
    await service.says('"listening"')
    const [, url = ''] = /"url":"([^"]+)"/.exec(service.stdout()) ?? []
    const generate = commandIn(installed, 'generate', 'a fox', '-o', 'x.mp4', '--frames', '5')
    const made = await wanctl([], { command: generate, url, cwd: directory })
    expect(made).toMatchObject({ code: 0, stdout: 'x.mp4\n' })
    const page = await fetch(`${url}/docs/page.css`)
    expect(page.status).toBe(200)
    const [, script] = /src="([^"]+\.js)"/.exec(await (await fetch(url)).text()) ?? []
    expect((await fetch(new URL(String(script), url))).status).toBe(200)
    const status = await wanctl([], { command: commandIn(installed, 'status', '--json'), url })
    expect(JSON.parse(status.stdout)).toMatchObject({ ready: true, version: '0.1.0' })
    service.child.kill('SIGTERM')
    expect((await service.end()).code).toBe(0)
  } finally {
    killLeftovers(dataDir)
  }
}
