import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { root } from '../../../src/config/root.ts'
import { headBytes } from '../../../src/infra/generation/progress/output-follower.ts'
import { aSmallDisk, canMount } from '../../support/disk/small-disk.ts'
import {
  type Attempt,
  anAttempt,
  cleanUp,
  connect,
  exited,
  isAlive,
  kill,
  processesOf,
  run,
  shimPath,
  startShim,
  until,
  waysToStay,
} from '../../support/shim-attempt.ts'

/** Works until it is told to go, and then ends with 7. */
const untilGo = 'touch started; while [ ! -e go ]; do sleep 0.01; done; exit 7'

/** Ends on SIGTERM as generate.py does: at once, by the signal. */
const obedient = 'touch started; while :; do sleep 0.01; done'

const stubborn = `trap 'touch termed' TERM; ${obedient}`

afterEach(cleanUp)

const removeDirectory = ({ dir }: Attempt) => fs.rmSync(dir, { recursive: true })

function writeManyFiles({ dir }: Attempt): void {
  fs.mkdirSync(path.join(dir, 'many'))
  for (let n = 0; n < 10_001; n++) fs.closeSync(fs.openSync(path.join(dir, 'many', `${n}`), 'w'))
}

describe('the result of an attempt', () => {
  it('holds the exit code, when it ran and how much memory it took', async () => {
    const before = Date.now()
    const exit = await run(anAttempt({ script: 'exit 3' }))

    expect(exit).toEqual({
      code: 3,
      signal: null,
      reason: null,
      strays: 0,
      unreaped: 0,
      startedAt: expect.any(Number),
      endedAt: expect.any(Number),
      maxRssKiB: expect.any(Number),
      error: null,
    })
    expect(exit.startedAt).toBeGreaterThanOrEqual(before)
    expect(exit.endedAt).toBeGreaterThanOrEqual(exit.startedAt)
    expect(exit.endedAt).toBeLessThanOrEqual(Date.now())
    expect(Number.isInteger(exit.startedAt) && Number.isInteger(exit.endedAt)).toBe(true)
    expect(exit.maxRssKiB).toBeGreaterThan(100)
  })

  it('holds the signal that ended it', async () => {
    const exit = await run(anAttempt({ script: 'kill -SEGV $$' }))
    expect(exit).toMatchObject({ code: null, signal: 'SIGSEGV', reason: null, error: null })
  })

  it('says that the program is missing', async () => {
    const attempt = anAttempt({ argv: ['no-such-program'] })
    const exit = await run(attempt)

    expect(exit).toMatchObject({ code: null, signal: null })
    expect(exit.error).toBe('cannot run no-such-program: No such file or directory')
    expect(attempt.has('state.json')).toBe(false)
  })

  it('says that the directory to run in is missing', async () => {
    const exit = await run(anAttempt({ cwd: '/no/such/directory' }))

    expect(exit).toMatchObject({ code: null, signal: null })
    expect(exit.error).toBe('cannot enter /no/such/directory: No such file or directory')
  })

  it('says that there is no telling what to run', async () => {
    const attempt = anAttempt()
    fs.writeFileSync(path.join(attempt.dir, 'spec.json'), '{"job": "half a spec')
    const exit = await run(attempt)

    expect(exit).toMatchObject({ code: null, signal: null })
    expect(exit.error).toMatch(/^cannot start: /)
  })

  it('is durable before any client hears it', async () => {
    const attempt = anAttempt({ script: untilGo })
    startShim(attempt)
    const client = await connect(attempt)
    const wasThere: boolean[] = []
    client.socket.on('data', (text) => {
      if (String(text).includes('exit')) wasThere.push(attempt.has('exit.json'))
    })

    attempt.tellWorker('go')
    const exit = await client.hears('exit')
    expect(exit.code).toBe(7)
    expect(exit).toEqual(await attempt.exit())
    expect(wasThere).toEqual([true])
  })

  it('is the last thing a shim does', async () => {
    const attempt = anAttempt()
    const shim = startShim(attempt)
    await exited(shim)

    expect(shim.exitCode).toBe(0)
    expect(fs.readdirSync(attempt.dir).sort()).toEqual([
      'claim',
      'exit.json',
      'shim.log',
      'spec.json',
      'state.json',
      'stderr.log',
      'stdout.log',
    ])
    expect(attempt.read('shim.log')).toBe('')
  })

  it('is kept, and told, for as long as it cannot be written', async () => {
    const attempt = anAttempt({ script: untilGo })
    const obstacle = path.join(attempt.dir, 'exit.json.tmp')
    fs.mkdirSync(obstacle)
    const shim = startShim(attempt)
    const early = await connect(attempt)
    attempt.tellWorker('go')
    expect(await early.hears('exit')).toMatchObject({ code: 7 })

    const late = await connect(attempt)
    expect(await late.hears('hello')).toMatchObject({ job: attempt.spec.job, worker: null })
    expect(await late.hears('exit')).toMatchObject({ code: 7 })
    late.say({ op: 'ping' })
    await late.hears('pong')
    expect(attempt.has('exit.json')).toBe(false)

    fs.rmdirSync(obstacle)
    expect(await attempt.exit()).toMatchObject({ code: 7 })
    await exited(shim)
    await until(() => early.isClosed() && late.isClosed(), 'the clients to be closed')
    expect(early.messages.filter((message) => message.exit)).toHaveLength(1)
  })

  it('is written whatever the worker has put in its way', async () => {
    for (const put of ['mkfifo', 'ln -s elsewhere', 'ln -s /dev/full']) {
      const attempt = anAttempt()
      const script = `${put} ${attempt.dir}/exit.json.tmp; exit 3`
      const spec = { ...attempt.spec, argv: ['sh', '-c', script, attempt.root] }
      fs.writeFileSync(path.join(attempt.dir, 'spec.json'), JSON.stringify(spec))
      expect(await run(attempt)).toMatchObject({ code: 3 })
      expect(attempt.has('elsewhere')).toBe(false)
    }
  })

  it('dies with its directory', async () => {
    const attempt = anAttempt({ script: untilGo })
    const shim = startShim(attempt)
    await attempt.state()
    await attempt.worker('started')

    fs.rmSync(attempt.dir, { recursive: true })
    attempt.tellWorker('go')
    await exited(shim)
    expect(shim.exitCode).toBe(0)
  })
})

describe('a worker', () => {
  it('is given its arguments unchanged', async () => {
    const prompt = `A "cat" & a 'dog'; $(rm -rf /) \`id\` | > < * ? ~ \\ \n\t%s --task\r\n 猫 🐈 é\u0301`
    const words = [
      '--prompt',
      prompt,
      '',
      ' ',
      '--',
      '-',
      '$HOME',
      '\u{10ffff}',
      'x'.repeat(10_000),
    ]
    const attempt = anAttempt({ argv: ['sh', '-c', 'printf "%s\\0" "$@"', 'sh', ...words] })
    await run(attempt)

    expect(attempt.read('stdout.log').split('\0').slice(0, -1)).toEqual(words)
  })

  it('runs in its directory, with the environment of the service and a cookie', async () => {
    const attempt = anAttempt({ epoch: 12, script: 'pwd -P; echo "$WAN_ATTEMPT"; echo "$HUE"' })
    await run(attempt, { ...process.env, HUE: 'blue' })

    expect(attempt.read('stdout.log')).toBe(
      `${fs.realpathSync(attempt.cwd)}\n${attempt.spec.job}/12\nblue\n`,
    )
  })

  it('reads nothing', async () => {
    const exit = await run(anAttempt({ argv: ['cat'] }))
    expect(exit).toMatchObject({ code: 0 })
  })

  it('has every signal at its default', async () => {
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGPIPE', 'SIGTERM']) {
      const exit = await run(anAttempt({ script: `kill -${signal.slice(3)} $$; exit 1` }))
      expect(exit).toMatchObject({ code: null, signal })
    }
  })

  it('may print 20 MB, of which nothing is lost', async () => {
    const attempt = anAttempt({
      script: 'yes 0123456789 | head -c 20000000; yes abcdefghi | head -c 20000000 >&2',
    })
    await run(attempt)

    const half = 20_000_000
    const { dir } = attempt
    expect(fs.statSync(path.join(dir, 'stdout.log')).size).toBe(half)
    expect(fs.statSync(path.join(dir, 'stderr.log')).size).toBe(half)
    expect(attempt.read('stdout.log')).toBe('0123456789\n'.repeat(half / 11 + 1).slice(0, half))
  })

  it('has the beginning and the end of its output kept, however long it is', async () => {
    const attempt = anAttempt({
      script: 'seq 1 9000000; printf the-end; seq 9000000 -1 1 >&2; printf the-last-error >&2',
    })
    expect(await run(attempt)).toMatchObject({ code: 0 })
    const cases = [
      ['stdout.log', '1\n2\n3\n', '\n8999999\n9000000\nthe-end'],
      ['stderr.log', '9000000\n8999999\n', '\n2\n1\nthe-last-error'],
    ] as const
    for (const [name, first, last] of cases) {
      const kept = attempt.read(name)
      expect(kept.length).toBeGreaterThan(headBytes + 1024 * 1024)
      expect(kept.length).toBeLessThanOrEqual(32 * 1024 * 1024)
      expect(kept.startsWith(first)).toBe(true)
      expect(kept.endsWith(last)).toBe(true)
      expect(kept.slice(headBytes)).toMatch(/^\n\[about \d+ bytes are left out\]\n/)
    }
  })

  it.skipIf(!canMount)('goes on while there is no room for its output', async () => {
    const disk = aSmallDisk({ mib: 4 })
    const script =
      'yes 0123456789 | head -c 8000000; touch full; while [ ! -e go ]; do sleep 0.01; done; echo last'
    const attempt = anAttempt({ script, at: path.join(disk.path, 'attempt') })
    startShim(attempt)
    await attempt.worker('full')

    const size = fs.statSync(path.join(attempt.dir, 'stdout.log')).size
    fs.truncateSync(path.join(attempt.dir, 'stdout.log'), 1_000_000)
    attempt.tellWorker('go')
    expect(await attempt.exit()).toMatchObject({ code: 0 })
    expect(size).toBeLessThan(4 * 1024 * 1024)
    const kept = attempt.read('stdout.log')
    expect(/\n\[\d+ bytes are missing: they could not be written\]\n/.test(kept)).toBe(true)
    expect(kept.endsWith('\nlast\n')).toBe(true)
  })

  it.each([
    ['the directory of the attempt is removed', 'directory_removed', removeDirectory],
    ['it has written too many files', 'too_many_files', writeManyFiles],
  ] as const)('is stopped when %s', async (_case, reason, spoil) => {
    const attempt = anAttempt({ script: obedient })
    const shim = startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')
    spoil(attempt)
    expect(await client.hears('exit')).toMatchObject({ signal: 'SIGTERM', reason })
    await exited(shim)
  })

  it.skipIf(!canMount)('is stopped when it fills the disk with large files', async () => {
    const disk = aSmallDisk({ mib: 300 })
    const script = `dd if=/dev/zero of="$0/large" bs=1M count=140 status=none; ${obedient}`
    const attempt = anAttempt({ script, at: path.join(disk.path, 'attempt') })
    fs.symlinkSync(path.join(attempt.dir, 'large'), path.join(attempt.root, 'large'))
    startShim(attempt)
    expect(await attempt.exit()).toMatchObject({ signal: 'SIGTERM', reason: 'no_room' })
  })

  it('only ever adds to its output, even when that has been cut', async () => {
    const attempt = anAttempt({
      script: 'echo one; touch started; while [ ! -e go ]; do sleep 0.01; done; echo two',
    })
    startShim(attempt)
    await attempt.worker('started')
    await until(() => attempt.read('stdout.log') === 'one\n', 'the first line to be written')
    fs.truncateSync(path.join(attempt.dir, 'stdout.log'))

    attempt.tellWorker('go')
    await attempt.exit()
    expect(attempt.read('stdout.log')).toBe('two\n')
  })

  it('is known by its pid and start time, and so is its shim', async () => {
    const attempt = anAttempt({ script: untilGo })
    const shim = startShim(attempt)
    const state = await attempt.state()

    expect(state.shim).toEqual({ pid: expect.any(Number), start: startTimeOf(state.shim.pid) })
    expect(state.worker).toEqual({ pid: expect.any(Number), start: startTimeOf(state.worker.pid) })
    expect(fs.readFileSync(`/proc/${state.worker.pid}/cmdline`, 'utf8')).toContain(attempt.root)
    expect(state.boot).toBe(fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim())

    attempt.tellWorker('go')
    expect((await attempt.exit()).startedAt).toBe(state.startedAt)
    await exited(shim)
  })

  it('is known by its start time even if its name looks like more of the same file', async () => {
    const attempt = anAttempt({ script: 'exit 1' })
    const program = path.join(attempt.root, 'x) R 1 (y')
    fs.writeFileSync(program, '#!/bin/sh\ntouch started; while [ ! -e go ]; do sleep 0.01; done\n')
    fs.chmodSync(program, 0o755)
    fs.writeFileSync(
      path.join(attempt.dir, 'spec.json'),
      JSON.stringify({ ...attempt.spec, argv: [program] }),
    )
    startShim(attempt)
    const { worker, shim } = await attempt.state()

    await attempt.worker('started')
    expect(fs.readFileSync(`/proc/${worker.pid}/comm`, 'utf8')).toBe('x) R 1 (y\n')
    expect(worker.start).toBe(startTimeOf(worker.pid))
    expect(worker.start).toBeGreaterThanOrEqual(shim.start)
  })
})

describe('a stop', () => {
  it('lets the worker end by itself', async () => {
    const attempt = anAttempt({ script: `trap 'touch termed; exit 4' TERM; ${obedient}` })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')

    client.say({ op: 'stop', graceMs: 60_000, reason: 'canceled' })
    expect(await client.hears('exit')).toMatchObject({ code: 4, signal: null, reason: 'canceled' })
    expect(fs.existsSync(path.join(attempt.cwd, 'termed'))).toBe(true)
  })

  it('ends a worker that has no mind to resist', async () => {
    const attempt = anAttempt({ script: obedient })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')

    client.say({ op: 'stop', graceMs: 60_000, reason: 'deadline' })
    expect(await client.hears('exit')).toMatchObject({ signal: 'SIGTERM', reason: 'deadline' })
  })

  it('reaches the whole group of the worker', async () => {
    const attempt = anAttempt({
      script: `sh -c "trap 'touch child-termed; exit' TERM; touch child; while :; do sleep 0.01; done" &
        trap 'wait; exit 4' TERM; ${obedient}`,
    })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('child')
    await attempt.worker('started')

    client.say({ op: 'stop', graceMs: 60_000, reason: 'canceled' })
    expect(await client.hears('exit')).toMatchObject({ code: 4, strays: 0 })
    expect(fs.existsSync(path.join(attempt.cwd, 'child-termed'))).toBe(true)
  })

  it('kills a worker that ignores it, once the grace is over', async () => {
    const attempt = anAttempt({ script: stubborn })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')

    const before = Date.now()
    client.say({ op: 'stop', graceMs: 300, reason: 'canceled' })
    const exit = await client.hears('exit')
    expect(exit).toMatchObject({ code: null, signal: 'SIGKILL', reason: 'canceled' })
    expect(exit.endedAt - before).toBeGreaterThanOrEqual(299)
    expect(fs.existsSync(path.join(attempt.cwd, 'termed'))).toBe(true)
  })

  it('kills even a worker that has left its group', async () => {
    const script = `import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setpgid(0, os.getppid())
open('started', 'w')
time.sleep(1000)`
    const attempt = anAttempt({ argv: ['python3', '-c', script] })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')

    client.say({ op: 'stop', graceMs: 0, reason: 'canceled' })
    expect(await client.hears('exit')).toMatchObject({ signal: 'SIGKILL' })
  })

  it('can be hurried, and keeps its first reason', async () => {
    const attempt = anAttempt({ script: stubborn })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')
    client.say({ op: 'stop', graceMs: 3_600_000, reason: 'canceled' })
    await attempt.worker('termed')

    client.say({ op: 'stop', graceMs: 0, reason: 'deadline' })
    expect(await client.hears('exit')).toMatchObject({ signal: 'SIGKILL', reason: 'canceled' })
  })

  it('cannot be put off', async () => {
    const attempt = anAttempt({ script: stubborn })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')

    client.say({ op: 'stop', graceMs: 200, reason: 'canceled' })
    client.say({ op: 'stop', graceMs: 3_600_000, reason: 'canceled' })
    expect(await client.hears('exit')).toMatchObject({ signal: 'SIGKILL', reason: 'canceled' })
  })

  it('is what SIGTERM means to the shim, while it ignores what a closed terminal sends', async () => {
    const attempt = anAttempt({ script: obedient })
    startShim(attempt)
    const { shim, worker } = await attempt.state()
    const client = await connect(attempt)
    await attempt.worker('started')
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGPIPE'] as const) process.kill(shim.pid, signal)
    client.say({ op: 'ping' })
    await client.hears('pong')
    expect(isAlive(worker.pid)).toBe(true)

    process.kill(shim.pid, 'SIGTERM')
    expect(await attempt.exit()).toMatchObject({ signal: 'SIGTERM', reason: 'sigterm' })
  })
})

describe('when an attempt has ended', () => {
  for (const [kind, command] of Object.entries(waysToStay)) {
    it(`leaves no trace of ${kind}`, async () => {
      const attempt = anAttempt({ script: `held="$0/held"; : >"$held"; ${command} ${untilGo}` })
      const held = () => processesOf(`tail\0-f\0${attempt.root}/held`)
      startShim(attempt)
      await until(() => held().length === 1, 'the stray to run')

      attempt.tellWorker('go')
      const exit = await attempt.exit()
      expect(held().filter(isAlive)).toEqual([])
      expect(exit).toMatchObject({ code: 7, strays: 1, unreaped: 0 })
    })
  }

  it('leaves no trace of all of them together, after a kill', async () => {
    const attempt = anAttempt({
      script: `held="$0/held"; : >"$held"; ${Object.values(waysToStay).join('\n')}\n${stubborn}`,
    })
    const held = () => processesOf(`-f\0${attempt.root}/held`)
    startShim(attempt)
    const client = await connect(attempt)
    await until(() => held().length === 5, 'the strays to run')
    await attempt.worker('started')

    client.say({ op: 'stop', graceMs: 0, reason: 'canceled' })
    const exit = await attempt.exit()
    expect(held().filter(isAlive)).toEqual([])
    expect(exit).toMatchObject({ signal: 'SIGKILL', unreaped: 0 })
  })

  it('has not counted those that ended by themselves', async () => {
    const script = `import os
child = os.fork() or os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)`
    const exit = await run(anAttempt({ argv: ['python3', '-c', script] }))
    expect(exit).toMatchObject({ code: 0, strays: 0, unreaped: 0 })
  })
})

describe('an attempt', () => {
  it('never begins once it is revoked', async () => {
    const attempt = anAttempt({ script: 'touch started' })
    fs.writeFileSync(path.join(attempt.dir, 'claim'), '')
    const shim = startShim(attempt)
    await exited(shim)

    expect(shim.exitCode).toBe(0)
    expect(fs.readdirSync(attempt.dir).sort()).toEqual(['claim', 'shim.log', 'spec.json'])
    expect(attempt.read('shim.log')).toBe('')
    expect(fs.readdirSync(attempt.cwd)).toEqual([])
  })

  it('begins once, however many shims are started for it', async () => {
    const attempt = anAttempt({ script: 'echo begun' })
    const shims = Array.from({ length: 4 }, () => startShim(attempt))
    await Promise.all(shims.map(exited))

    expect(attempt.read('stdout.log')).toBe('begun\n')
    expect(await attempt.exit()).toMatchObject({ code: 0 })
  })

  it('survives the death of the service, and its exit status is not lost', async () => {
    const attempt = anAttempt({ script: untilGo })
    const parent = spawn(
      process.execPath,
      [path.join(root, 'test/support/shim-parent.ts'), shimPath, attempt.dir],
      { detached: true, stdio: 'ignore' },
    )
    await attempt.worker('started')
    const { shim, worker } = await attempt.state()
    process.kill(-(parent.pid as number), 'SIGKILL')
    await exited(parent)
    expect([isAlive(shim.pid), isAlive(worker.pid)]).toEqual([true, true])

    const client = await connect(attempt)
    expect(await client.hears('hello')).toMatchObject({ worker: worker.pid })
    attempt.tellWorker('go')
    expect(await attempt.exit()).toMatchObject({ code: 7, reason: null })
  })

  it('takes the worker along when its shim is killed', async () => {
    const attempt = anAttempt({ script: stubborn })
    const child = startShim(attempt)
    await attempt.worker('started')
    const { shim, worker } = await attempt.state()

    kill(shim.pid)
    await until(() => !isAlive(worker.pid), 'the worker to die')
    await exited(child)
    expect(attempt.has('exit.json')).toBe(false)
  })

  it('may live in a directory with a path of any length', async () => {
    const attempt = anAttempt({
      script: untilGo,
      under: path.join('a'.repeat(100), 'b'.repeat(100)),
    })
    startShim(attempt)
    const client = await connect(attempt)
    expect(await client.hears('hello')).toMatchObject({ job: attempt.spec.job })

    attempt.tellWorker('go')
    expect(await client.hears('exit')).toMatchObject({ code: 7 })
    expect(await attempt.exit()).toMatchObject({ code: 7 })
  })
})

describe('the control socket', () => {
  it('says whose it is, to us and nobody else', async () => {
    const attempt = anAttempt({ epoch: 41, script: untilGo })
    startShim(attempt)
    const client = await connect(attempt)
    const hello = await client.hears('hello')
    const { worker, startedAt } = await attempt.state()

    const whose = { job: attempt.spec.job, epoch: 41, worker: worker.pid, startedAt }
    expect(hello).toEqual({ ...whose, start: 'cold' })
    expect(fs.statSync(path.join(attempt.dir, 'ctl.sock')).mode & 0o777).toBe(0o600)
  })

  it('takes commands in pieces, and several at once', async () => {
    const attempt = anAttempt({ script: stubborn })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')

    client.write('{"op":"pi')
    const other = await connect(attempt)
    other.say({ op: 'ping' })
    await other.hears('pong') // by now the first half was read
    expect(client.messages).not.toContainEqual({ pong: true })
    client.write('ng"}\n{"op":"ping"}\n{"op":"stop","graceMs":0,"reason":null}\n')
    expect(await client.hears('exit')).toMatchObject({ signal: 'SIGKILL', reason: null })
    expect(client.messages.filter((message) => message.pong)).toHaveLength(2)
  })

  it('passes over commands of a later day', async () => {
    const attempt = anAttempt({ script: untilGo })
    startShim(attempt)
    const client = await connect(attempt)

    client.say({ op: 'hibernate' })
    client.say({ op: 'ping' })
    await client.hears('pong')
  })

  it('hangs up on nonsense, and on nobody else', async () => {
    const attempt = anAttempt({ script: untilGo })
    startShim(attempt)
    const bystander = await connect(attempt)
    const nonsense = {
      'no JSON': 'stop!\n',
      'an empty line': '\n',
      'a list': '["stop"]\n',
      'a number': '1\n',
      nothing: 'null\n',
      'no grace': '{"op":"stop"}\n',
      'a grace in words': '{"op":"stop","graceMs":"1","reason":"x"}\n',
      'a negative grace': '{"op":"stop","graceMs":-1,"reason":"x"}\n',
      'a grace that is not a number': '{"op":"stop","graceMs":NaN,"reason":"x"}\n',
      'a reason that is not text': '{"op":"stop","graceMs":0,"reason":{}}\n',
      bytes: Buffer.from([0xff, 0xfe, 0x00, 0x80, 0x0a]),
      'a deep nest': `${'['.repeat(60_000)}\n`,
      'a long line': `{"op":"ping","more":"${'x'.repeat(70_000)}"}\n`,
      'a line without end': 'x'.repeat(1_000_000),
    }

    for (const [what, bytes] of Object.entries(nonsense)) {
      const client = await connect(attempt)
      client.write(bytes)
      await until(client.isClosed, `the shim to hang up on ${what}`)
    }
    bystander.say({ op: 'ping' })
    await bystander.hears('pong')
    expect(bystander.isClosed()).toBe(false)
    attempt.tellWorker('go')
    expect(await attempt.exit()).toMatchObject({ code: 7, reason: null })
    expect(attempt.read('shim.log')).toBe('')
  })

  it('takes any grace, however long', async () => {
    const attempt = anAttempt({ script: stubborn })
    startShim(attempt)
    const client = await connect(attempt)
    await attempt.worker('started')

    client.write(`{"op":"stop","graceMs":1e999,"reason":"canceled"}\n`)
    client.write(`{"op":"stop","graceMs":1${'0'.repeat(400)},"reason":"canceled"}\n{"op":"ping"}\n`)
    await client.hears('pong')
    client.say({ op: 'stop', graceMs: 0, reason: 'canceled' })
    expect(await client.hears('exit')).toMatchObject({ signal: 'SIGKILL' })
  })

  it('is not held up by a client that never reads', async () => {
    const attempt = anAttempt({ script: untilGo })
    startShim(attempt)
    const deaf = await connect(attempt)
    const client = await connect(attempt)
    deaf.socket.pause()
    for (let i = 0; i < 20_000; i += 1) deaf.say({ op: 'ping' })

    client.say({ op: 'ping' })
    await client.hears('pong')
    deaf.socket.resume()
    await until(deaf.isClosed, 'the deaf client to find itself dropped')
    expect(client.isClosed()).toBe(false)
    attempt.tellWorker('go')
    expect(await client.hears('exit')).toMatchObject({ code: 7 })
  })

  it('tells every one of many clients', async () => {
    const attempt = anAttempt({ script: untilGo })
    startShim(attempt)
    const clients = []
    for (let i = 0; i < 50; i += 1) clients.push(await connect(attempt))
    for (const client of clients) await client.hears('hello')

    attempt.tellWorker('go')
    for (const client of clients) expect(await client.hears('exit')).toMatchObject({ code: 7 })
  })

  it('drops the oldest clients rather than turn a new one away', async () => {
    const attempt = anAttempt({ script: untilGo })
    startShim(attempt)
    const oldest = await connect(attempt)
    for (let i = 0; i < 200; i += 1) await connect(attempt)
    const newest = await connect(attempt)

    expect(await newest.hears('hello')).toMatchObject({ job: attempt.spec.job })
    await until(oldest.isClosed, 'the oldest to be dropped')
    expect(newest.isClosed()).toBe(false)
  })
})

/** Field 22 of /proc/PID/stat, counted from the end of the line, where no name can get in the way. */
function startTimeOf(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').trim().split(' ')
  return Number(fields.at(21 - 52))
}
