import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { createForkServer } from '../../../src/infra/processes/fork-server.ts'
import { runTool, type ToolError } from '../../../src/infra/processes/tool.ts'
import { canFreeze, freeze } from '../../support/freezer.ts'
import { canSetLimits, setLimit } from '../../support/limits.ts'
import {
  anAttempt,
  anAttemptWithLeftovers,
  cleanUp,
  isAlive,
  kill,
  processesOf,
  until,
  waysToStay,
} from '../../support/shim-attempt.ts'

const { env } = process

/** Works until it is told to go, and then ends with 7. */
const untilGo = 'touch started; while [ ! -e go ]; do sleep 0.01; done; exit 7'

const untilKilled = 'while :; do sleep 0.01; done'

afterEach(cleanUp)

function aForkServer({ python = 'python3', answerMs = 5_000, pingMs = 5_000 } = {}) {
  const server = createForkServer(python, { answerMs, pingMs })
  onTestFinished(server.close)
  return {
    ...server,
    tool: (...argv: [string, ...string[]]) => server.startTool(argv, env),
    /** Of a shim or a tool, which it is the parent of. */
    pid: (child: number) => Number(statOf(child)[1]),
  }
}

/** From the third field on. */
const statOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []

/**
 * A Python whose fork server meets its end right after it has started a tool, before it reports it. `slow`: the tool is
 * still a copy of the fork server then, as it is between the fork and the call of exec.
 */
function pythonThat(ends: 'is killed' | 'stands still', { slow = false } = {}): string {
  const python = join(anAttempt().root, 'python')
  const signal = { 'is killed': 'SIGKILL', 'stands still': 'SIGSTOP' }[ends]
  const script = `#!/usr/bin/env python3
import os, runpy, signal, sys, time
spawn = os.posix_spawnp
def slowly(program, argv, env, file_actions, **_):
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        for action in file_actions:
            if action[0] == os.POSIX_SPAWN_DUP2: os.dup2(*action[1:])
        time.sleep(0.5)
        os.execvpe(program, argv, env)
    return pid
def and_no_more(program, argv, env, **how):
    pid = ${slow ? 'slowly' : 'spawn'}(program, argv, env, **how)
    if program == 'sh': os.kill(os.getpid(), signal.${signal})
    return pid
os.posix_spawnp = and_no_more
sys.path.insert(0, os.path.dirname(sys.argv[3]))
runpy.run_path(sys.argv[3], run_name='__main__')
`
  writeFileSync(python, script, { mode: 0o755 })
  return python
}

const niceness = (pid: number): number => Number(statOf(pid)[16])

const argsOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean)

async function aRunningShim(server: ReturnType<typeof aForkServer>) {
  const attempt = anAttempt({ script: untilGo })
  const ended = server.startShim(attempt.dir, { ...env, COLOUR: 'green' })
  await attempt.worker('started')
  const { shim, worker } = await attempt.state()
  return { attempt, ended, shim: shim.pid, worker: worker.pid, server: server.pid(shim.pid) }
}

/** It ends when it is killed. */
async function aRunningTool(server: ReturnType<typeof aForkServer>) {
  const { dir } = anAttempt()
  const run = server.tool('tail', '-f', join(dir, 'spec.json'))
  await until(() => processesOf(dir).length > 0, 'the tool to run')
  const [tool = 0] = processesOf(dir)
  return { ...run, tool }
}

describe('a shim that the fork server has started', () => {
  it('is told of when it has ended, with the result on disk', async () => {
    const { attempt, ended } = await aRunningShim(aForkServer())
    attempt.tellWorker('go')
    expect(await ended).toMatchObject({ how: 'ended', signal: null })
    expect(await attempt.exit()).toMatchObject({ code: 7, error: null })
  })

  it('is told of when it was killed, and by what', async () => {
    const { ended, shim } = await aRunningShim(aForkServer())
    kill(shim)
    expect(await ended).toMatchObject({ how: 'ended', signal: 'SIGKILL' })
  })

  it.each(Object.keys(waysToStay) as (keyof typeof waysToStay)[])(
    'has left no process when its end is told, though it was killed: %s',
    async (way) => {
      const server = aForkServer()
      const attempt = anAttemptWithLeftovers([way], { isMarked: false })
      const ended = server.startShim(attempt.dir, env)
      await attempt.haveStarted()
      const { shim, worker } = await attempt.state()
      const other = await aRunningShim(server)

      kill(shim.pid)
      expect(await ended).toMatchObject({ signal: 'SIGKILL', unreaped: 0 })
      expect(attempt.leftovers()).toEqual([])
      expect(isAlive(worker.pid)).toBe(false)
      expect(isAlive(other.worker)).toBe(true)
    },
  )

  it('does not have processes killed that a wrapper around Python has started', async () => {
    const { root } = anAttempt()
    const python = join(root, 'python')
    const script = `#!/bin/sh\ntail -f ${root}/python >/dev/null 2>&1 &\nexec python3 "$@"\n`
    writeFileSync(python, script, { mode: 0o755 })
    const { ended, shim } = await aRunningShim(aForkServer({ python }))
    kill(shim)
    await ended
    expect(processesOf(`tail\0-f\0${root}`).filter(isAlive)).toHaveLength(1)
  })

  it('looks like one that was started by itself, with an environment and a session of its own', async () => {
    const { attempt, shim, worker, server } = await aRunningShim(aForkServer())
    const [python, ...args] = argsOf(shim)
    expect(python).toMatch(/python3/)
    expect(args).toEqual(['-I', '-S', expect.stringMatching(/\/shim\.py$/), attempt.dir])
    const environment = readFileSync(`/proc/${worker}/environ`, 'utf8').split('\0')
    expect(environment).toContain('COLOUR=green')
    expect(statOf(shim)[3]).toBe(String(shim))
    expect(statOf(server)[3]).toBe(String(server))
  })

  it('has nothing open that belongs to the fork server', async () => {
    const server = aForkServer()
    const sleeping = server.tool('sleep', '60')
    const { shim } = await aRunningShim(server)
    const open = readdirSync(`/proc/${shim}/fd`).length
    sleeping.kill()
    await sleeping.ended
    const { shim: other } = await aRunningShim(server)
    expect(readdirSync(`/proc/${other}/fd`)).toHaveLength(open)
  })

  it('goes on when the fork server is killed, and the next is started by another', async () => {
    const server = aForkServer()
    const first = await aRunningShim(server)
    kill(first.server)
    expect(await first.ended).toMatchObject({ how: 'unwatched' })
    const second = await aRunningShim(server)
    expect(second.server).not.toBe(first.server)

    first.attempt.tellWorker('go')
    expect(await first.attempt.exit()).toMatchObject({ code: 7 })
    second.attempt.tellWorker('go')
    expect(await second.ended).toMatchObject({ how: 'ended' })
  })

  it('goes on when the fork server ends with its service', async () => {
    const server = aForkServer()
    const { attempt, shim, server: pid } = await aRunningShim(server)
    await server.close()
    expect(isAlive(pid)).toBe(false)
    expect(isAlive(shim)).toBe(true)
    attempt.tellWorker('go')
    expect(await attempt.exit()).toMatchObject({ code: 7 })
  })

  it('is not waited for when the fork server stands still', async () => {
    const server = aForkServer({ answerMs: 2_000 })
    const { server: pid } = await aRunningShim(server)
    process.kill(pid, 'SIGSTOP')
    const late = anAttempt()
    expect(await server.startShim(late.dir, env)).toMatchObject({ how: 'unwatched' })
    const { server: next } = await aRunningShim(server)
    expect(next).not.toBe(pid)
    process.kill(next, 'SIGSTOP')
    await server.close()
  })

  it('cannot be started where there is no directory for it', async () => {
    expect(await aForkServer().startShim('/no/such/directory', env)).toEqual({
      how: 'cannotStart',
      error: 'ENOENT',
      why: 'No such file or directory',
    })
  })

  it('is tried again when Python is killed while it starts, but not for ever', async () => {
    const python = join(anAttempt().root, 'python')
    writeFileSync(python, '#!/bin/sh\nkill -SEGV $$\n', { mode: 0o755 })
    const server = aForkServer({ python })
    for (const how of [...Array(4).fill('unwatched'), 'cannotStart']) {
      expect(await server.startShim(anAttempt().dir, env)).toMatchObject({ how })
    }
    expect(await server.tool('true').ended).toMatchObject({
      why: 'the fork server failed (SIGSEGV): it said nothing',
    })
  })

  it.each([
    ['no-such-python', /^no-such-python could not be started: .*ENOENT/],
    ['false', /^the fork server failed \(exit code 1\): it said nothing$/],
    ['cat', /^the fork server failed \(exit code 1\): Try 'cat --help'/],
    ['echo', /^the fork server failed \(exit code 0\): -I -S .*fork_server\.py/],
  ])('cannot be started by %s', async (python, why) => {
    const server = aForkServer({ python })
    for (const _ of [1, 2]) {
      const end = await server.startShim(anAttempt().dir, env)
      expect(end).toMatchObject({ how: 'cannotStart', why: expect.stringMatching(why) })
    }
  })
})

describe('a tool that the fork server runs', () => {
  it('tells what it has said and how it ended', async () => {
    const { ended } = aForkServer().tool('sh', '-c', 'echo füchse; echo wölfe >&2; exit 3')
    expect(await ended).toMatchObject({
      ...{ how: 'ended', code: 3, signal: null },
      ...{ stdout: 'füchse\n', stderr: 'wölfe\n' },
    })
  })

  it('says nothing on its own account, and reads nothing', async () => {
    const { ended } = aForkServer().tool('cat')
    expect(await ended).toMatchObject({ code: 0, stdout: '', stderr: '' })
  })

  it('gives way to the service and its generations', async () => {
    const server = aForkServer()
    const { tool, kill } = await aRunningTool(server)
    await until(() => niceness(tool) === niceness(process.pid) + 10, 'the tool to be nice')
    expect(niceness(server.pid(tool))).toBe(niceness(process.pid))
    kill()
  })

  it('is killed when it is told to be', async () => {
    const { ended, kill } = aForkServer().tool('sleep', '60')
    kill()
    expect(await ended).toMatchObject({ code: null, signal: 'SIGKILL' })
  })

  it.each<[what: string, strike: (forkServer: number) => void]>([
    ['was killed', kill],
    ['stands still for long', (pid) => process.kill(pid, 'SIGSTOP')],
  ])(
    'is ended and run once more when the fork server %s, and then killed',
    async (_what, strike) => {
      const server = aForkServer({ answerMs: 3_000, pingMs: 100 })
      await server.tool('true').ended
      const { dir } = anAttempt()
      const running = () => processesOf(dir).filter(isAlive)
      const { ended } = server.tool('tail', '-f', join(dir, 'spec.json'))
      const tools: number[] = []
      for (const end of [strike, kill]) {
        let tool = 0
        const isNew = () => {
          tool = running().find((pid) => !tools.includes(pid)) ?? 0
          return tool > 0
        }
        await until(isNew, 'the tool to run')
        tools.push(tool)
        end(server.pid(tool))
      }
      expect(await ended).toMatchObject({ how: 'ended', code: null, signal: 'SIGKILL' })
      expect(running()).toEqual([])
    },
  )

  it('is killed though the fork server stands still', async () => {
    const server = aForkServer({ answerMs: 600_000, pingMs: 600_000 })
    const { tool, ended, kill: cancel } = await aRunningTool(server)
    // It reports in order: the start of the tool is known once another one has ended.
    await server.tool('true').ended
    const pid = server.pid(tool)
    process.kill(pid, 'SIGSTOP')
    cancel()
    expect(await ended).toMatchObject({ how: 'ended', code: null, signal: 'SIGKILL' })
    expect(isAlive(tool)).toBe(false)
    kill(pid)
  })

  it.skipIf(!canFreeze)('is waited for when it survives SIGKILL', async () => {
    const server = aForkServer()
    const { tool, ended, kill: cancel } = await aRunningTool(server)
    let hasEnded = false
    void ended.then(() => (hasEnded = true))
    const { thaw } = freeze(tool)
    cancel()
    expect(await server.tool('sleep', '1').ended).toMatchObject({ code: 0 })
    expect(hasEnded).toBe(false)
    thaw()
    expect(await ended).toMatchObject({ signal: 'SIGKILL' })
  })

  it('is not waited for when it is to be started by a fork server that stands still', async () => {
    const server = aForkServer({ answerMs: 600_000, pingMs: 600_000 })
    const { server: pid } = await aRunningShim(server)
    process.kill(pid, 'SIGSTOP')
    const { ended, kill: cancel } = server.tool('sleep', '60')
    cancel()
    expect(await ended).toMatchObject({ how: 'ended', signal: 'SIGKILL' })
    expect(isAlive(pid)).toBe(false)
  })

  it.each([
    ['is killed', {}],
    ['stands still', {}],
    ['is killed', { slow: true }],
  ] as const)(
    'is ended by a cancel though the fork server %s before it reports the tool: %j',
    async (end, how) => {
      const server = aForkServer({ python: pythonThat(end, how), answerMs: 2_000 })
      const { dir } = anAttempt()
      const { ended, kill: cancel } = server.tool('sh', '-c', untilKilled, dir)
      cancel()
      expect(await ended).toMatchObject({ how: 'ended', code: null, signal: 'SIGKILL' })
      // A copy of the fork server has become the tool by then.
      await server.tool('sleep', '1').ended
      expect(processesOf(dir).filter(isAlive)).toEqual([])
    },
  )

  it('does not run twice at once when its fork server is killed before it reports the tool', async () => {
    const server = aForkServer({ python: pythonThat('is killed') })
    const { dir } = anAttempt()
    await server.tool('sh', '-c', untilKilled, dir).ended
    expect(processesOf(dir).filter(isAlive)).toEqual([])
  })

  it('goes on while the fork server answers, however often it is asked', async () => {
    const server = aForkServer({ answerMs: 5_000, pingMs: 1 })
    expect(await server.tool('sleep', '0.5').ended).toMatchObject({ code: 0 })
  })

  it('leaves no process behind that it has started', async () => {
    const { root } = anAttempt()
    const script = 'setsid tail -f "$0/python" >/dev/null 2>&1 & exit 3'
    writeFileSync(join(root, 'python'), '')
    const { ended } = aForkServer().tool('sh', '-c', script, root)
    expect(await ended).toMatchObject({ code: 3 })
    const left = () => processesOf(`tail\0-f\0${root}`).filter(isAlive)
    await until(() => left().length === 0, 'the process to end')
  })

  it('has but the begin of its output and the end of its errors kept', async () => {
    const script = 'yes out | head -c 3000000; yes err | head -c 3000000 >&2; echo end >&2'
    const end = await aForkServer().tool('sh', '-c', script).ended
    if (end.how !== 'ended') expect.fail('it did not start')
    expect(end.stdout.length).toBeLessThan(1_200_000)
    expect(end.stderr).toHaveLength(1024 * 1024)
    expect(end.stderr.endsWith('err\nend\n')).toBe(true)
  })

  it('runs beside many others, and leaves nothing open behind', async () => {
    const server = aForkServer()
    const { server: pid } = await aRunningShim(server)
    const open = () => readdirSync(`/proc/${pid}/fd`).length
    const before = open()
    const numbers = Array.from({ length: 100 }, (_, index) => String(index))
    const ends = await Promise.all(numbers.map((number) => server.tool('echo', number).ended))
    expect(ends.map((end) => end.how === 'ended' && end.stdout.trim())).toEqual(numbers)
    await Promise.all(numbers.map(() => server.tool('no-such-tool').ended))
    await expect.poll(open).toBeLessThanOrEqual(before)
  })

  it.runIf(canSetLimits)('leaves nothing open either when descriptors run out', async () => {
    const server = aForkServer()
    const { server: pid } = await aRunningShim(server)
    const open = () => readdirSync(`/proc/${pid}/fd`).length
    const before = open()
    // One pipe can be made, and the other cannot.
    setLimit(pid, 'nofile', limitLeaving(3, readdirSync(`/proc/${pid}/fd`).map(Number)))
    for (let n = 0; n < 5; n++) {
      expect(await server.tool('true').ended).toMatchObject({ how: 'cannotStart', error: 'EMFILE' })
    }
    expect(open()).toBe(before)
    setLimit(pid, 'nofile', 1_024)
    expect(await server.tool('echo', 'well').ended).toMatchObject({ how: 'ended', code: 0 })
  })

  it.each([
    [['no-such-tool'], 'prevented', /^no-such-tool is not installed$/],
    [['/etc/passwd'], 'prevented', /^\/etc\/passwd cannot be started: Permission denied$/],
    [['sh', '-c', 'echo no >&2; exit 1'], 'failed', /^sh failed \(exit code 1\): no$/],
    [['sh', '-c', 'kill -9 $$'], 'killed', /^sh failed \(SIGKILL\)$/],
    [['sleep', '60'], 'prevented', /^sleep took longer than 0.1 s$/],
  ] as const)('ends as it would without: %j is %s', async (argv, how, message) => {
    const timeoutMs = argv[0] === 'sleep' ? 100 : 10_000
    for (const start of [aForkServer().startTool, undefined]) {
      const failure = await runTool(argv, { timeoutMs, ...(start && { start }) }).then(
        () => expect.fail('it went well'),
        (error: ToolError) => error,
      )
      expect(failure).toMatchObject({ name: 'ToolError', how })
      // Node's own words for what cannot be started are others.
      if (start) expect(failure.message).toMatch(message)
    }
  })
})

/** The limit counts numbers of descriptors, and those in use may have gaps. */
function limitLeaving(free: number, used: readonly number[]): number {
  let limit = 0
  for (let found = 0; found < free; limit++) if (!used.includes(limit)) found++
  return limit
}
