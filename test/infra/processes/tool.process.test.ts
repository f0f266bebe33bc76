import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { root } from '../../../src/config/root.ts'
import { runTool, ToolError } from '../../../src/infra/processes/tool.ts'

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tool-'))
})

afterEach(() => rmSync(directory, { recursive: true }))

const timeoutMs = 30_000
const sh = (script: string) => ['sh', '-c', script] as const
const at = (name: string): string => join(directory, name)
const pidIn = async (name: string): Promise<number> => {
  await expect.poll(() => existsSync(at(name)) && readFileSync(at(name), 'utf8')).toMatch(/\d\n/)
  return Number(readFileSync(at(name), 'utf8'))
}

/** A zombie has no command line. */
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== ''

const failureOf = (running: Promise<string>): Promise<ToolError> =>
  running.then(
    () => expect.fail('the tool succeeded'),
    (error: unknown) => {
      if (error instanceof ToolError) return error
      throw error
    },
  )

describe('A tool for which there is no descriptor left', () => {
  it.each([
    ['tool', `runTool(['true'], { timeoutMs: 10_000 })`],
    ['shim', `createForkServer('python3').startShim('/tmp', {}).then((end) => { throw end })`],
    [
      'tool of the fork server',
      `runTool(['true'], { timeoutMs: 10_000, start: createForkServer('python3').startTool })`,
    ],
  ])('is not started, and the service lives on: %s', async (_what, start) => {
    const processes = join(root, 'src', 'infra', 'processes')
    const script = `
      import { openSync } from 'node:fs'
      import { runTool } from '${processes}/tool.ts'
      import { createForkServer } from '${processes}/fork-server.ts'
      try { for (;;) openSync('/dev/null') } catch {}
      ${start}.catch((error) => process.stdout.write(error.message ?? error.why))`
    writeFileSync(at('script.ts'), script)
    const said = await runTool(['prlimit', '--nofile=64:64', process.execPath, at('script.ts')], {
      timeoutMs,
    })
    expect(said).toMatch(/EMFILE/)
  })
})

describe('A tool', () => {
  it('gets its arguments as they are', async () => {
    const odd = ['$HOME', "it's", '', 'two  blanks', '*', 'a\nb', 'é']
    const argv = ['printf', '%s|', ...odd] as const
    expect(await runTool(argv, { timeoutMs })).toBe(`${odd.join('|')}|`)
  })

  it('gets the given environment and no other', async () => {
    const env = { PATH: process.env.PATH, ONLY: 'this' }
    const said = await runTool(['env'], { timeoutMs, env })
    expect(said.trim().split('\n').sort()).toEqual([`ONLY=this`, `PATH=${process.env.PATH}`])
  })

  it('has the start of a long output and the end of its errors kept', async () => {
    const script = 'yes out | head -c 3000000; yes err | head -c 3000000 >&2; exit 1'
    const { end } = await failureOf(runTool(sh(script), { timeoutMs }))
    if (end?.how !== 'ended') expect.fail('the tool did not end')
    expect(end.stdout.length).toBeLessThan(1_200_000)
    expect(end.stderr).toHaveLength(1024 * 1024)
  })

  it('that takes too long is killed with all processes of its group', async () => {
    const script = `sleep 60 & echo $! > ${at('child')}; echo $$ > ${at('pid')}; wait`
    const failure = await failureOf(runTool(sh(script), { timeoutMs: 1_000 }))
    expect(failure).toMatchObject({ how: 'prevented', message: 'sh took longer than 1 s' })
    expect(isAlive(await pidIn('pid'))).toBe(false)
    expect(isAlive(await pidIn('child'))).toBe(false)
  })

  it('that is interrupted ends before the call does', async () => {
    const interruption = new AbortController()
    const running = runTool(sh(`echo $$ > ${at('pid')}; exec sleep 60`), {
      timeoutMs,
      signal: interruption.signal,
    })
    const pid = await pidIn('pid')
    interruption.abort()
    expect(await failureOf(running)).toMatchObject({
      how: 'prevented',
      message: 'sh was interrupted',
    })
    expect(isAlive(pid)).toBe(false)
  })

  it('that does not end when it is killed holds up nobody who leaves it', async () => {
    // Out of the group, with the output: the call would wait for it, as for a process in a driver.
    const script = `setsid sh -c 'echo $$ > ${at('stray')}; exec sleep 60' & exec sleep 60`
    const running = runTool(sh(script), { timeoutMs: 1_000, afterKill: 'leave' })
    const failure = await failureOf(running)
    expect(failure).toMatchObject({ how: 'prevented', end: undefined })
    const stray = await pidIn('stray')
    expect(isAlive(stray)).toBe(true)
    process.kill(stray)
  })
})
