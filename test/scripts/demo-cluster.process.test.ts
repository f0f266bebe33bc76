import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { main } from '../../bench/built.ts'
import { root } from '../../src/config/root.ts'
import { aDataDirectory, killLeftovers, processesOf } from '../support/service.ts'
import { missing } from '../support/store/postgres-stores.ts'

describe.skipIf(missing)('the demo of a cluster', { timeout: 180_000 }, () => {
  it('loses no job when the leader is killed, and leaves no process', async () => {
    const { directory, into, ended, output } = launch()
    expect(await ended, output()).toEqual([0, null])
    const successes = output().match(/^ +\d+ +[abc] +[abc] +[0-2] +1 +success .*$/gm)
    expect(successes).toHaveLength(12)
    expect(output()).toMatch(/^Node [abc], which leads, was killed with SIGKILL\.$/m)
    expect(output()).toMatch(
      /^No node led for \d+\.\d s\. A video of node ([abc]), .* node (?!\1)[abc]:/m,
    )
    expect(output()).toMatch(/^Lost: nothing\.$/m)
    expect(readdirSync(into)).toEqual([expect.stringMatching(/\.mp4$/)])
    expect(processesOf(directory)).toEqual([])
    expect(readdirSync(directory)).toEqual(['videos'])
  })

  it('leaves no process when it is interrupted, and fails', async () => {
    const { directory, child, ended, output } = launch()
    await vi.waitFor(() => expect(output()).toContain('jobs were submitted'), { timeout: 60_000 })
    child.kill('SIGTERM')
    expect(await ended).toEqual([1, null])
    expect(output()).toContain('The demo failed. It was interrupted by SIGTERM.')
    expect(processesOf(directory)).toEqual([])
    expect(readdirSync(directory)).toEqual([])
  })
})

/** With generations of a second, and conversions of a few frames. */
function launch() {
  const directory = aDataDirectory()
  // The server has a user of its own.
  chmodSync(directory, 0o711)
  const into = join(directory, 'videos')
  const script = join(root, 'scripts', 'demo-cluster.ts')
  const options = ['--program', main, '--into', into, '--frames', '5']
  const child: ChildProcess = spawn(process.execPath, [script, ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: directory, SIM_STEP: '0.03' },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const ended = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
    killLeftovers(directory)
  })
  return { directory, into, child, ended, output: () => output }
}
