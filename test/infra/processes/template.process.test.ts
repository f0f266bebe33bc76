import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { killAttempts } from '../../../src/infra/processes/strays.ts'
import { isAlive, kill, until } from '../../support/shim-attempt.ts'
import {
  aCheckout,
  aForkServer,
  aGeneration,
  aReadyTemplate,
  argsOf,
  aTemplate,
  descriptorsOf,
  fast,
  nameOf,
  oomScoreOf,
  parentOf,
  privateKiB,
  python,
  runPython,
  start,
  statOf,
  templatesIn,
} from '../../support/warm/warm-attempt.ts'

const hasHugePages =
  existsSync('/sys/kernel/mm/transparent_hugepage/enabled') &&
  readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').includes('[madvise]')

const hugeKiB = (pid: number): number =>
  Number(/AnonHugePages:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])

/** Steps that never end, until the test ends them. */
const slow = '[sim:step=1000]'

async function aWarmGeneration({ prompt = slow, env = fast } = {}) {
  const server = aForkServer()
  const checkout = aCheckout()
  const template = await aReadyTemplate(server, checkout, env)
  const generation = aGeneration(checkout, { prompt })
  const { ended, started } = start(server, generation, { template: template.run, env })
  await generation.reaches('sampling')
  const { shim, worker } = await generation.state()
  return {
    ...{ server, checkout, template, generation, ended, started },
    ...{ shim: shim.pid, worker: worker.pid, forkServer: parentOf(shim.pid) },
  }
}

describe('a generation that was forked from a template', () => {
  it('makes its video and tells all its stages, and loads nothing', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const { run } = await aReadyTemplate(server, checkout, { ...fast, SIM_LOAD: '1' })
    const generation = aGeneration(checkout)
    // With a load this long, a cold run would not end within the time of a test.
    const env = { ...fast, SIM_LOAD: '1000' }
    const { ended, started } = start(server, generation, { template: run, env })
    expect(await started()).toEqual({ start: 'warm' })
    await generation.reaches('text_encoder_loaded')
    const events = generation.events().map(({ event }) => event)
    expect(events).toEqual(
      expect.arrayContaining(['started', 'imported', 'text_encoder_built', 'text_encoder_loaded']),
    )
    // The VAE is not held: it is built on its device.
    const { worker } = await generation.state()
    kill(worker.pid)
    await ended
  })

  it('says the same as one that was started cold, but for the lines of loading', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const { run } = await aReadyTemplate(server, checkout)
    const [cold, warm] = [aGeneration(checkout), aGeneration(checkout)]
    await start(server, cold).ended
    await start(server, warm, { template: run }).ended
    expect(await warm.exit()).toMatchObject({ code: 0, signal: null, error: null })
    expect(readFileSync(join(warm.dir, 'video.mp4'))).toEqual(
      readFileSync(join(cold.dir, 'video.mp4')),
    )
    const isLoading = (line: string) => /^INFO: loading .*umt5|checkpoint shards/.test(line)
    const lines = (one: typeof cold) =>
      one
        .said('stdout')
        .split('\n')
        .filter((l) => !isLoading(l))
    expect(lines(warm)).toEqual(lines(cold))
    const told = (one: typeof cold) =>
      one.events().flatMap(({ event }) => (event === 'step' ? [] : [event]))
    expect(told(warm)).toEqual(told(cold))
  })

  it('has the negative prompt of its own job, and the next one has none', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const { run } = await aReadyTemplate(server, checkout)
    const negativeOf = async (options: string[]) => {
      const generation = aGeneration(checkout, { options })
      const journal = join(generation.dir, 'journal')
      const env = { ...fast, SIM_JOURNAL: journal }
      await start(server, generation, { template: run, env }).ended
      expect(await generation.exit()).toMatchObject({ code: 0 })
      return JSON.parse(readFileSync(journal, 'utf8').trim().split('\n').at(-1) ?? '')
        .negative_prompt
    }
    expect(await negativeOf(['--negative-prompt=owls'])).toBe('owls')
    expect(await negativeOf([])).toBe('静态，模糊，低质量')
  })

  it('finds what it would find had it been started cold', async () => {
    const server = aForkServer()
    const checkout = aCheckout({ script: 'introspect' })
    const { run } = await aReadyTemplate(server, checkout)
    const find = async (template?: typeof run) => {
      const generation = aGeneration(checkout)
      const env = { ...fast, COLOUR: 'green', CUDA_VISIBLE_DEVICES: '1' }
      await start(server, generation, { template, env }).ended
      expect(await generation.exit()).toMatchObject({ code: 0 })
      const [found = '', ...rest] = generation.said('stdout').split('\n')
      expect(rest.at(-2)).toBe('at exit')
      const { random, mark, ...same } = JSON.parse(found)
      same.environ.WAN_ATTEMPT = same.environ.WAN_ATTEMPT?.replace(generation.key.jobId, 'JOB')
      expect(mark[0]).toBeLessThan(2 ** 48)
      return { random, same }
    }
    const [cold, warm, again] = [await find(), await find(run), await find(run)]
    expect(warm.same).toEqual(cold.same)
    expect(warm.same.environ).toMatchObject({ COLOUR: 'green', CUDA_VISIBLE_DEVICES: '1' })
    expect(new Set([cold.random, warm.random, again.random]).size).toBe(3)
  })

  it('runs the script that the template has read, and does not read it again', async () => {
    const server = aForkServer()
    const checkout = aCheckout({ script: 'introspect' })
    const script = join(checkout.cwd, 'generate.py')
    const { run } = await aReadyTemplate(server, checkout)
    // As if it were changed after the last comparison: size, time and inode say that it is the same.
    const read = readFileSync(script, 'utf8')
    const reference = join(checkout.root, 'reference')
    execFileSync('cp', ['-p', script, reference])
    writeFileSync(script, read.replace("say('at exit')", "say('changed')"))
    execFileSync('touch', ['-r', reference, script])
    const generation = aGeneration(checkout)
    const { started, ended } = start(server, generation, { template: run })
    expect(await started()).toEqual({ start: 'warm' })
    await ended
    expect(generation.said('stdout')).toContain('at exit')
  })

  it('has what a wrapper around Python adds to the environment', async () => {
    const server = aForkServer()
    const checkout = aCheckout({ script: 'introspect' })
    const wrapper = join(checkout.root, 'wrapper')
    writeFileSync(wrapper, `#!/bin/sh\nexport WRAPPED=yes\nexec ${python} "$@"\n`, { mode: 0o755 })
    const { run } = await aReadyTemplate(server, checkout, fast, { by: wrapper })
    const generation = aGeneration(checkout)
    await start(server, generation, { template: run, env: { ...fast, COLOUR: 'green' } }).ended
    const { environ } = JSON.parse(generation.said('stdout').split('\n')[0] ?? '')
    expect(environ).toMatchObject({ WRAPPED: 'yes', COLOUR: 'green' })
  })

  it.each<[what: string, then: string]>([
    ['an exception', 'def fail():\n raise ValueError("no")\nfail()'],
    ['an exception in a library', 'import json; json.loads("{")'],
    ['an exit with a number', 'sys.exit(37)'],
    ['an exit with a text', 'sys.exit("that is not possible")'],
    ['an exit without anything', 'sys.exit()'],
    ['an interrupt', 'raise KeyboardInterrupt'],
    ['a signal', 'os.kill(os.getpid(), 11)'],
    [
      'a thread that still runs',
      'import threading, time\nthreading.Thread(target=lambda: (time.sleep(.2), say("late"))).start()',
    ],
  ])('ends as a cold one does: %s', async (_what, then) => {
    const server = aForkServer()
    const checkout = aCheckout({ script: 'introspect' })
    const { run } = await aReadyTemplate(server, checkout)
    const env = { ...fast, THEN: then }
    const end = async (template?: typeof run) => {
      const generation = aGeneration(checkout)
      await start(server, generation, { template, env }).ended
      const { code, signal, error } = await generation.exit()
      const said = generation.said('stdout').split('\n').slice(1)
      const isLoading = (line: string) => /loading|WanModel/.test(line)
      const stderr = generation.said('stderr').replaceAll(/\r?Loading checkpoint.*\n?/g, '')
      return {
        code,
        signal,
        error,
        said: said.filter((line) => !isLoading(line)),
        stderr: stderr.trim(),
      }
    }
    expect(await end(run)).toEqual(await end())
  })

  it('is shown with its command, and its shim and template with theirs', async () => {
    const { shim, worker, generation, template, forkServer } = await aWarmGeneration()
    const command = generation.argv.join('\0')
    expect(argsOf(worker).startsWith(`${command}\0`)).toBe(true)
    expect(
      argsOf(shim)
        .split('\0')
        .filter((one) => one.trim())
        .slice(-2),
    ).toEqual([expect.stringMatching(/\/shim\.py$/), generation.dir])
    expect([template.pid(), shim, worker].map(nameOf)).toEqual([
      'wan-template',
      'wan-shim',
      'wan-generation',
    ])
    expect(parentOf(worker)).toBe(shim)
    expect(parentOf(template.pid())).toBe(forkServer)
    expect(statOf(shim)[3]).toBe(String(shim))
    expect((await generation.state()) as unknown).toMatchObject({ start: 'warm' })
  })

  it('is the first to end when the host has no memory left, then the template', async () => {
    const { shim, worker, template, forkServer } = await aWarmGeneration()
    const [service, fork, shimScore, templateScore, generation] = [
      ...[process.pid, forkServer, shim, template.pid(), worker].map(oomScoreOf),
    ]
    expect(fork).toBe(service)
    expect(shimScore).toBe(service)
    expect(templateScore).toBeGreaterThan(shimScore ?? 0)
    expect(generation).toBeGreaterThan(templateScore ?? 0)
  })

  it('and its shim have nothing open that belongs to the template or the fork server', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const { run } = await aReadyTemplate(server, checkout)
    const [cold, warm] = [
      aGeneration(checkout, { prompt: slow }),
      aGeneration(checkout, { prompt: slow }),
    ]
    start(server, cold)
    start(server, warm, { template: run })
    const counts = []
    for (const one of [cold, warm]) {
      await one.reaches('sampling')
      const { shim, worker } = await one.state()
      counts.push([shim.pid, worker.pid].map(descriptorsOf))
    }
    expect(counts[1]).toEqual(counts[0])
  })

  it('goes on when the template is killed, and its end is reported', async () => {
    const { template, worker, shim, ended, generation, forkServer } = await aWarmGeneration()
    kill(template.pid())
    expect(await template.run.ended).toMatchObject({ signal: 'SIGKILL' })
    expect([worker, shim].every(isAlive)).toBe(true)
    expect(parentOf(shim)).toBe(forkServer)
    kill(worker)
    expect(await ended).toMatchObject({ how: 'ended', signal: null, unreaped: 0 })
    expect(await generation.exit()).toMatchObject({ signal: 'SIGKILL' })
  })

  it('goes on when the fork server is killed, which ends the template', async () => {
    const { template, worker, shim, forkServer, checkout, generation } = await aWarmGeneration()
    kill(forkServer)
    expect(await template.run.ended).toMatchObject({ signal: 'SIGKILL' })
    await until(() => templatesIn(checkout.cwd).length === 0, 'the template to end')
    expect([worker, shim].every(isAlive)).toBe(true)
    kill(worker)
    expect(await generation.exit()).toMatchObject({ signal: 'SIGKILL' })
  })

  it('ends with its shim', async () => {
    const { worker, shim, ended } = await aWarmGeneration()
    kill(shim)
    expect(await ended).toMatchObject({ how: 'ended', signal: 'SIGKILL', unreaped: 0 })
    expect(isAlive(worker)).toBe(false)
  })

  it('is found by its mark, with all it has started, when everything else was killed', async () => {
    const { worker, shim, forkServer, generation } = await aWarmGeneration({
      prompt: `${slow}[sim:strays=1000]`,
    })
    process.kill(forkServer, 'SIGSTOP')
    kill(shim)
    kill(forkServer)
    const { found, survivors } = await killAttempts([generation.key])
    expect({ found: found >= 5, survivors }).toEqual({ found: true, survivors: 0 })
    expect(isAlive(worker)).toBe(false)
  })

  it('is found with its shim by its command line and its mark', async () => {
    const { worker, shim, generation } = await aWarmGeneration()
    expect(await killAttempts([generation.key])).toMatchObject({ survivors: 0 })
    expect([worker, shim].some(isAlive)).toBe(false)
  })
})

describe('a template', () => {
  it('ends with the fork server, however it is left', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    await aReadyTemplate(server, checkout)
    expect(templatesIn(checkout.cwd)).toHaveLength(1)
    await server.close()
    await until(() => templatesIn(checkout.cwd).length === 0, 'the template to end')
  })

  it('ends while it loads when it is killed by its owner', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const { run } = aTemplate(server, checkout, { ...fast, SIM_TEMPLATE_FAULT: 'hang-load' })
    await until(() => templatesIn(checkout.cwd).length === 1, 'the template to load')
    run.kill()
    expect(await run.ended).toMatchObject({ signal: 'SIGKILL' })
  })

  it.each<[fault: string, why: RegExp]>([
    ['touch-cuda', /loading has touched CUDA/],
    ['thread', /loading has started threads: /],
    ['crash-import', /RuntimeError: a fault of the simulation/],
    ['crash-load', /RuntimeError: a fault of the simulation/],
  ])('says why it cannot be: %s', async (fault, why) => {
    const server = aForkServer()
    const template = aTemplate(server, aCheckout(), { ...fast, SIM_TEMPLATE_FAULT: fault })
    expect(await template.heard('failed')).toMatchObject({ why: expect.stringMatching(why) })
    expect(await template.run.ended).toMatchObject({ code: 1 })
  })

  it('says which constructors a checkout does not have', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const model = join(checkout.cwd, 'wan/modules/model.py')
    writeFileSync(model, readFileSync(model, 'utf8').replaceAll('WanModel', 'OtherModel'))
    const pipeline = join(checkout.cwd, 'wan/pipeline.py')
    writeFileSync(pipeline, readFileSync(pipeline, 'utf8').replaceAll('WanModel', 'OtherModel'))
    const template = aTemplate(server, checkout)
    expect(await template.heard('failed')).toMatchObject({
      why: expect.stringContaining('this checkout has no dit that is known'),
    })
  })

  it('ends without a word when it crashes, and a shim is started cold', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const { run } = aTemplate(server, checkout, { ...fast, SIM_TEMPLATE_FAULT: 'exit' })
    expect(await run.ended).toMatchObject({ code: 3 })
    const generation = aGeneration(checkout)
    const { started, ended } = start(server, generation, { template: run })
    expect(await started()).toEqual({ start: 'cold', why: 'the template is not ready' })
    await ended
    expect(await generation.exit()).toMatchObject({ code: 0 })
  })

  it('is not waited for while it loads', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const { run } = aTemplate(server, checkout, { ...fast, SIM_TEMPLATE_FAULT: 'hang-import' })
    const generation = aGeneration(checkout)
    const { started, ended } = start(server, generation, { template: run })
    expect(await started()).toMatchObject({ start: 'cold' })
    await ended
  })

  it('that stands still is killed, and the shim is started cold', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const template = await aReadyTemplate(server, checkout)
    process.kill(template.pid(), 'SIGSTOP')
    const generation = aGeneration(checkout)
    const { started, ended } = start(server, generation, { template: template.run })
    expect(await started()).toEqual({ start: 'cold', why: 'it did not answer' })
    expect(await template.run.ended).toMatchObject({ signal: 'SIGKILL' })
    await ended
    expect(await generation.exit()).toMatchObject({ code: 0 })
    expect(generation.events().filter(({ event }) => event === 'started')).toHaveLength(1)
  })

  it('that stands still costs no fork server, however soon that has to answer', async () => {
    const server = aForkServer({ answerMs: 700 })
    const checkout = aCheckout()
    const template = await aReadyTemplate(server, checkout)
    const forkServer = parentOf(template.pid())
    process.kill(template.pid(), 'SIGSTOP')
    const { started, ended } = start(server, aGeneration(checkout), { template: template.run })
    expect(await started()).toEqual({ start: 'cold', why: 'it did not answer' })
    await ended
    expect(isAlive(forkServer)).toBe(true)
  })

  it('has more time for a fork the more private memory it has', () => {
    const said = runPython(
      'import json',
      'from template_process import answer_within',
      'print(json.dumps([answer_within(gib * 2**30) for gib in (0, 10, 50)]))',
    )
    expect(JSON.parse(said)).toEqual([2, 4, 12])
  })

  it.skipIf(!hasHugePages)(
    'holds its weights in huge pages, and no cold generation does',
    async () => {
      const server = aForkServer()
      const checkout = aCheckout()
      const env = { ...fast, SIM_WEIGHTS_MB: '64' }
      const template = await aReadyTemplate(server, checkout, env)
      expect(hugeKiB(template.pid())).toBeGreaterThanOrEqual(32 * 1024)
      const generation = aGeneration(checkout, { prompt: slow })
      start(server, generation, { env })
      await generation.reaches('sampling')
      const { worker } = await generation.state()
      expect(hugeKiB(worker.pid)).toBe(0)
    },
  )

  it('uses another session than its owner, and one thread', async () => {
    const server = aForkServer()
    const template = await aReadyTemplate(server, aCheckout())
    expect(statOf(template.pid())[3]).toBe(String(template.pid()))
    expect(statOf(template.pid())[17]).toBe('1')
  })

  it('keeps its memory and its descriptors over many generations, failed and killed ones among them', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const template = await aReadyTemplate(server, checkout)
    const generate = async (n: number) => {
      const prompt =
        n % 3 === 0 ? '[sim:exit-1]' : n % 3 === 1 ? '[sim:kill-self]' : '[sim:no-file-silent]'
      const generation = aGeneration(checkout, { prompt })
      const { started, ended } = start(server, generation, { template: template.run })
      expect(await started()).toMatchObject({ start: 'warm' })
      await ended
    }
    const measure = () => ({
      memory: privateKiB(template.pid()),
      open: descriptorsOf(template.pid()),
    })
    for (let n = 0; n < 3; n++) await generate(n)
    const before = measure()
    for (let n = 0; n < 15; n++) await generate(n)
    const after = measure()
    expect(after.open).toBe(before.open)
    expect(after.memory - before.memory).toBeLessThan(256)
  })
})

describe('a template is out of date', () => {
  it.each<
    [what: string, change: (checkout: ReturnType<typeof aCheckout>, env: typeof fast) => void]
  >([
    ['the script', ({ cwd }) => appendFileSync(join(cwd, 'generate.py'), '\n')],
    ['a module of the checkout', ({ cwd }) => appendFileSync(join(cwd, 'wan/pipeline.py'), '\n')],
    ['the checkpoint', ({ checkpoint }) => utimesSync(join(checkpoint, '__init__.py'), 1, 1)],
    ['a new file of the checkpoint', ({ checkpoint }) => writeFileSync(join(checkpoint, 'x'), '')],
    ['an installed package', ({ root }) => mkdirSync(join(root, 'packages/torch-3.0.dist-info'))],
  ])('when it has changed: %s', async (_what, change) => {
    const server = aForkServer()
    const checkout = aCheckout()
    mkdirSync(join(checkout.root, 'packages'))
    const env = { ...fast, PYTHONPATH: join(checkout.root, 'packages') }
    const template = await aReadyTemplate(server, checkout, env)
    change(checkout, env)
    const generation = aGeneration(checkout)
    const { started, ended } = start(server, generation, { template: template.run, env })
    expect(await started()).toMatchObject({ start: 'cold', why: expect.stringMatching(/chang/) })
    expect(await template.heard('stale')).toMatchObject({ why: expect.stringMatching(/chang/) })
    expect(await template.run.ended).toMatchObject({ code: 0 })
    await ended
    expect(await generation.exit()).toMatchObject({ code: 0 })
  })
})

describe('a template whose checkout is a link', () => {
  it('is out of date when the link leads to another folder', async () => {
    const server = aForkServer()
    const made = aCheckout()
    const [link, other] = [join(made.root, 'link'), join(made.root, 'other')]
    symlinkSync(made.cwd, link)
    const checkout = { ...made, cwd: link }
    const template = await aReadyTemplate(server, checkout)
    cpSync(made.cwd, other, { recursive: true })
    rmSync(link)
    symlinkSync(other, link)
    const generation = aGeneration(checkout)
    const { started, ended } = start(server, generation, { template: template.run })
    expect(await started()).toMatchObject({ start: 'cold', why: expect.stringMatching(/chang/) })
    expect(await template.run.ended).toMatchObject({ code: 0 })
    await ended
  })
})

describe('a probe', () => {
  it('uses the GPU in a fork of the template', async () => {
    const server = aForkServer()
    const { run } = await aReadyTemplate(server, aCheckout())
    const end = await run.startProbe(fast).ended
    expect(end).toMatchObject({ how: 'ended', code: 0, stdout: expect.stringContaining('"initS"') })
  })

  it('says what a fork cannot do', async () => {
    const server = aForkServer()
    const { run } = await aReadyTemplate(server, aCheckout())
    const end = await run.startProbe({ ...fast, SIM_FORK_FAULT: 'cuda' }).ended
    expect(end).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Cannot re-initialize CUDA'),
    })
  })

  it('that hangs can be killed, and the template goes on', async () => {
    const server = aForkServer()
    const template = await aReadyTemplate(server, aCheckout())
    const probe = template.run.startProbe({ ...fast, SIM_FORK_FAULT: 'hang' })
    await until(() => probesOf(parentOf(template.pid())).length === 1, 'the probe to run')
    probe.kill()
    expect(await probe.ended).toMatchObject({ signal: 'SIGKILL' })
    expect(await template.run.startProbe(fast).ended).toMatchObject({ code: 0 })
  })
})

/** Names of the children of a fork server. */
const probesOf = (forkServer: number): number[] =>
  readFileSync(`/proc/${forkServer}/task/${forkServer}/children`, 'utf8')
    .split(' ')
    .map(Number)
    .filter((pid) => pid > 0 && nameOf(pid) === 'wan-probe')

const compiler = ['cc', 'gcc', 'clang'].find((name) =>
  (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, name))),
)

describe.skipIf(!compiler)('the driver of the GPU', () => {
  it('is not called by a template, and is by its generation', async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const library = join(checkout.root, 'libcuda.so.1')
    const source = join(import.meta.dirname, '../../support/warm/libcuda.c')
    execFileSync(compiler ?? 'cc', ['-shared', '-fPIC', '-o', library, source])
    const calls = join(checkout.root, 'calls')
    const env = { ...fast, SIM_LIBCUDA: library, CUDA_CALLS: calls }
    const template = await aReadyTemplate(server, checkout, env)
    const called = () =>
      (existsSync(calls) ? readFileSync(calls, 'utf8') : '').split('\n').filter(Boolean)
    expect(called()).toEqual([`${template.pid()} loaded`])

    const generation = aGeneration(checkout)
    const { ended } = start(server, generation, { template: template.run, env })
    await generation.reaches('sampling')
    const { worker } = await generation.state()
    expect(called()).toContain(`${worker.pid} cuInit`)
    await ended
    expect(called().filter((call) => call.startsWith(`${template.pid()} `))).toHaveLength(1)
  })
})
