import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { isAlive, kill, until } from '../../support/shim-attempt.ts'
import {
  aCheckout,
  aForkServer,
  aGeneration,
  aReadyTemplate,
  argsOf,
  type Checkout,
  descriptorsOf,
  fast,
  nameOf,
  oomScoreOf,
  parentOf,
  runPython,
  standbysIn,
  start,
  statOf,
  templatesIn,
} from '../../support/warm/warm-attempt.ts'

/** Steps that never end, until the test ends them. */
const slow = '[sim:step=1000]'

async function aStandby({ checkout = aCheckout() } = {}) {
  const server = aForkServer()
  const template = await aReadyTemplate(server, checkout, fast, { hasStandby: true })
  const standby = await aWaitingStandby(checkout)
  const generate = (options: { prompt?: string } = {}) => {
    const generation = aGeneration(checkout, options)
    return { generation, ...start(server, generation, { template: template.run }) }
  }
  return {
    ...{ server, checkout, template, standby, generate },
    forkServer: parentOf(template.pid()),
  }
}

/** One that is not yet a child of the fork server is not yet one. */
async function aWaitingStandby({ cwd }: Checkout): Promise<number> {
  await until(() => standbysIn(cwd).length === 1, 'a standby')
  return standbysIn(cwd)[0] ?? 0
}

const noStandby = ({ cwd }: Checkout) =>
  until(() => standbysIn(cwd).length === 0, 'the standby to end')

async function aGenerationFromIt() {
  const waiting = await aStandby()
  const one = waiting.generate({ prompt: slow })
  await one.generation.reaches('sampling')
  const { shim, worker } = await one.generation.state()
  return { ...waiting, ...one, shim: shim.pid, worker: worker.pid }
}

describe('a standby', () => {
  it('becomes the shim of the next generation, and another one is forked', async () => {
    const { checkout, standby, generate } = await aStandby()
    const { generation, started, ended } = generate()
    expect(await started()).toEqual({ start: 'warm', standby: true })
    const { shim } = await generation.state()
    expect(shim.pid).toBe(standby)
    await ended
    expect(await generation.exit()).toMatchObject({ code: 0, signal: null, error: null })
    expect(await aWaitingStandby(checkout)).not.toBe(standby)
  })

  it('makes the same video with the same words as a cold start', async () => {
    const { server, checkout, generate } = await aStandby()
    const cold = aGeneration(checkout)
    await start(server, cold).ended
    const { generation: warm, started, ended } = generate()
    expect(await started()).toMatchObject({ standby: true })
    await ended
    const video = ({ dir }: typeof cold) => readFileSync(join(dir, 'video.mp4'))
    expect(video(warm)).toEqual(video(cold))
    const isLoading = (line: string) => /^INFO: loading .*umt5|checkpoint shards/.test(line)
    const lines = (one: typeof cold) =>
      one
        .said('stdout')
        .split('\n')
        .filter((line) => !isLoading(line))
    expect(lines(warm)).toEqual(lines(cold))
  })

  it('leaves its generation the same environment, limits and descriptors as a cold start', async () => {
    const { server, checkout, generate } = await aStandby({
      checkout: aCheckout({ script: 'introspect' }),
    })
    const cold = aGeneration(checkout)
    await start(server, cold).ended
    const { generation: warm, started, ended } = generate()
    expect(await started()).toMatchObject({ standby: true })
    await ended
    const found = (one: typeof cold) => {
      const { random: _random, mark, ...same } = JSON.parse(one.said('stdout').split('\n')[0] ?? '')
      expect(mark[0]).toBeLessThan(2 ** 48)
      same.environ.WAN_ATTEMPT = same.environ.WAN_ATTEMPT.replace(one.key.jobId, 'JOB')
      return same
    }
    expect(found(warm)).toEqual(found(cold))
  })

  it('is shown as one until it has an order, and as a shim from then on', async () => {
    const { standby, generation, worker, shim, forkServer } = await aGenerationFromIt()
    expect(shim).toBe(standby)
    expect([shim, worker].map(nameOf)).toEqual(['wan-shim', 'wan-generation'])
    expect(argsOf(shim).split('\0')).toContain(generation.dir)
    expect(argsOf(worker).startsWith(`${generation.argv.join('\0')}\0`)).toBe(true)
    expect([parentOf(shim), parentOf(worker)]).toEqual([forkServer, shim])
    expect(statOf(shim)[3]).toBe(String(shim))
  })

  it('ends no sooner than its template when the host has no memory left, and its shim last', async () => {
    const { checkout, template, worker, shim } = await aGenerationFromIt()
    const next = await aWaitingStandby(checkout)
    expect(oomScoreOf(next)).toBe(oomScoreOf(template.pid()))
    expect(oomScoreOf(shim)).toBe(oomScoreOf(process.pid))
    expect(oomScoreOf(worker)).toBeGreaterThan(oomScoreOf(next))
  })

  it('leaves its shim and its generation nothing open that a cold start does not have', async () => {
    const { server, checkout, shim, worker } = await aGenerationFromIt()
    await aWaitingStandby(checkout)
    const cold = aGeneration(checkout, { prompt: slow })
    start(server, cold)
    await cold.reaches('sampling')
    const other = await cold.state()
    expect([shim, worker].map(descriptorsOf)).toEqual(
      [other.shim.pid, other.worker.pid].map(descriptorsOf),
    )
  })
})

describe('a standby that is not used', () => {
  it('ends with the service', async () => {
    const { server, checkout } = await aStandby()
    await server.close()
    await noStandby(checkout)
  })

  it('ends with a fork server that is killed, even if it stands still', async () => {
    const { checkout, standby, forkServer } = await aStandby()
    process.kill(standby, 'SIGSTOP')
    kill(forkServer)
    await noStandby(checkout)
  })

  it('ends with its template, even if it stands still', async () => {
    const { checkout, template, standby, forkServer } = await aStandby()
    process.kill(standby, 'SIGSTOP')
    kill(template.pid())
    expect(await template.run.ended).toMatchObject({ signal: 'SIGKILL' })
    await noStandby(checkout)
    expect(isAlive(forkServer)).toBe(true)
  })

  it('ends when a file has changed since the template read it', async () => {
    const { checkout, template, generate } = await aStandby()
    appendFileSync(join(checkout.cwd, 'generate.py'), '\n')
    const { generation, started, ended } = generate()
    expect(await started()).toMatchObject({ start: 'cold', why: expect.stringMatching(/chang/) })
    expect(await template.heard('stale')).toMatchObject({ why: expect.stringMatching(/chang/) })
    await ended
    expect(await generation.exit()).toMatchObject({ code: 0 })
    await noStandby(checkout)
  })
})

describe('without a standby that answers', () => {
  it.each([
    ['was killed', 'SIGKILL'],
    ['was asked to end', 'SIGTERM'],
    ['stands still', 'SIGSTOP'],
  ] as const)('a generation is forked from the template: it %s', async (_, signal) => {
    const { checkout, standby, generate } = await aStandby()
    process.kill(standby, signal)
    const { generation, started, ended } = generate()
    expect(await started()).toEqual({ start: 'warm' })
    await ended
    expect(await generation.exit()).toMatchObject({ code: 0 })
    expect(generation.events().filter(({ event }) => event === 'started')).toHaveLength(1)
    expect(standbysIn(checkout.cwd)).not.toContain(standby)
  })

  it.each([
    ['ends with its answer', 'standby.has_ended({"signal": "SIGKILL"})', 'it has ended\nFalse\n'],
    ['has ended when its answer is read', 'standby.link.receive()', 'it has ended\n'],
  ])('a generation is not started from one that %s', (_, event, told) => {
    const said = runPython(
      'from event_loop import Events',
      'from order_link import Order',
      'from standby_process import Standby',
      'standby = Standby(Events(), 2, lambda: print(False))',
      'standby.take(Order(5, {}, [], lambda pid: print("accepted"), print))',
      // A pid that no process can have.
      'standby.link.theirs.send(b\'{"id": 5, "forked": 4194305}\')',
      event,
    )
    expect(said).toBe(told)
  })

  it('the fork server goes on when a process ends between its answer and its leave', () => {
    const said = runPython(
      'import os, socket',
      'from event_loop import Events, catch_signals',
      'from order_link import Order, OrderLink',
      'catch_signals()',
      'link = OrderLink(Events(), 2, print, print)',
      'link.take(Order(5, {}, [], lambda pid: print("accepted"), print))',
      'leave = socket.recv_fds(link.theirs, 1024, 1)[1][0]',
      'os.close(leave)',
      'link.theirs.send(b\'{"id": 5, "forked": %d}\' % os.getpid())',
      'link.receive()',
    )
    expect(said).toBe('accepted\n')
  })

  it('the fork server goes on when it has no descriptor left for one', () => {
    const said = runPython(
      'import resource, time',
      'from template_process import Template, NEVER',
      'template = object.__new__(Template)',
      'template.end = template.standby = template.events = None',
      'template.has_standby = True',
      'resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))',
      'template.have_standby()',
      'print(5 < template.standby_due - time.monotonic() <= 10)',
    )
    expect(said).toBe('True\n')
  })

  it('generations that are ordered together all start warm', async () => {
    const { generate } = await aStandby()
    const all = Array.from({ length: 4 }, () => generate())
    const starts = await Promise.all(all.map(({ started }) => started()))
    expect(starts.map((one) => one?.start)).toEqual(Array(4).fill('warm'))
    expect(starts.filter((one) => one?.standby)).toHaveLength(1)
    await Promise.all(all.map(({ ended }) => ended))
    for (const { generation } of all) expect(await generation.exit()).toMatchObject({ code: 0 })
  })
})

describe('a generation that was started from a standby', () => {
  it('goes on when template and fork server are killed', async () => {
    const { checkout, template, worker, shim, forkServer, generation } = await aGenerationFromIt()
    kill(template.pid())
    kill(forkServer)
    await until(() => templatesIn(checkout.cwd).length === 0, 'the template to end')
    await noStandby(checkout)
    expect([worker, shim].every(isAlive)).toBe(true)
    kill(worker)
    expect(await generation.exit()).toMatchObject({ signal: 'SIGKILL' })
  })

  it('ends with its shim, whose end is reported', async () => {
    const { worker, shim, ended } = await aGenerationFromIt()
    kill(shim)
    expect(await ended).toMatchObject({ how: 'ended', signal: 'SIGKILL', unreaped: 0 })
    expect(isAlive(worker)).toBe(false)
  })
})
