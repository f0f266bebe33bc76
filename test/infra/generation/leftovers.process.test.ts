/** Whatever happens to a generation: when its end is reported, no process of it is left. */
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { anExit } from '../../support/attempt-world.ts'
import { canFreeze, freeze } from '../../support/freezer.ts'
import { aGpu } from '../../support/gpu.ts'
import { isAlive, kill, processesOf, type State, until } from '../../support/shim-attempt.ts'

/** Argument of the processes that the generations of a test leave, and of nobody else. */
let lastSeconds = 900_000 + (process.pid % 10_000) * 10

/** A generation that hangs halfway, with processes beside it: `sleep`, in five ways. */
async function aGenerationWithLeftovers() {
  const seconds = ++lastSeconds
  const leftovers = () => processesOf(`sleep\0${seconds}\0`).filter(isAlive)
  onTestFinished(() => leftovers().forEach(kill))
  let leftAtEnd: number[] | undefined
  const gpu = aGpu({ atEnd: () => (leftAtEnd = everyone()) })
  const order = gpu.orderFor(`a fox [sim:strays=${seconds}][sim:hang-step]`)
  const everyone = () => [...leftovers(), ...processesOf(order.jobId).filter(isAlive)]
  const run = gpu.start(order)
  await run.until(({ step }) => step === 3)
  await until(() => leftovers().length === 5, 'the leftovers to run')
  const directory = gpu.directoryOf(order)
  const { shim } = JSON.parse(readFileSync(join(directory, 'state.json'), 'utf8')) as State
  const forkServer = Number(
    readFileSync(`/proc/${shim.pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1],
  )
  return {
    ...{ gpu, order, run, directory, shim: shim.pid, forkServer, leftovers },
    removeFiles: () => rmSync(dirname(directory), { recursive: true }),
    leftAtEnd: () => leftAtEnd,
  }
}

/** Another process listens at its socket, and tells an end. */
function poseAsShim({ directory, order }: Generation): void {
  const socket = join(directory, 'ctl.sock')
  rmSync(socket)
  const hello = { job: order.jobId, epoch: 1, worker: 1, startedAt: Date.now() }
  const server = createServer((client) => {
    client.on('error', () => {})
    client.write(`${JSON.stringify({ hello })}\n${JSON.stringify({ exit: anExit() })}\n`)
  }).listen(socket)
  onTestFinished(() => void server.close())
}

type Generation = Awaited<ReturnType<typeof aGenerationWithLeftovers>>

describe('a generation that is followed leaves no process', () => {
  it.each<[what: string, strike: (generation: Generation) => void]>([
    ['its shim is killed', ({ shim }) => kill(shim)],
    [
      'its shim is killed together with the fork server',
      ({ shim, forkServer }) => [forkServer, shim].forEach(kill),
    ],
    [
      'its shim is killed while the fork server stands still',
      ({ shim, forkServer }) => {
        process.kill(forkServer, 'SIGSTOP')
        kill(shim)
      },
    ],
    [
      'its shim is killed after its files were removed',
      ({ shim, removeFiles }) => {
        removeFiles()
        kill(shim)
      },
    ],
    ['its files are removed', ({ removeFiles }) => removeFiles()],
  ])('when %s, and is lost', async (_what, strike) => {
    const generation = await aGenerationWithLeftovers()
    strike(generation)
    await generation.run.end()
    expect(generation.leftAtEnd()).toEqual([])
    const result = generation.run.result()
    expect(result?.how === 'failed' ? result.failure.code : result?.how).toBe('lost')
  })

  it.each<[what: string, strike: (generation: Generation) => void]>([
    ['nothing else happens', () => {}],
    ['the fork server stands still', ({ forkServer }) => process.kill(forkServer, 'SIGSTOP')],
    [
      'its shim stands still and has lost its files',
      ({ shim, removeFiles }) => {
        process.kill(shim, 'SIGSTOP')
        removeFiles()
      },
    ],
  ])('when it is canceled and %s', async (_what, strike) => {
    const generation = await aGenerationWithLeftovers()
    strike(generation)
    generation.run.handle.stop('canceled', 500)
    await generation.run.end()
    expect(generation.leftAtEnd()).toEqual([])
  })
})

describe.skipIf(!canFreeze)(
  'a generation with a process that survives SIGKILL is unkillable',
  () => {
    it.each<[what: string, strike: (generation: Generation) => void]>([
      ['its shim is killed', ({ shim }) => kill(shim)],
      ['it is canceled', ({ run }) => run.handle.stop('canceled', 500)],
      [
        'its files are removed and it is adopted',
        ({ run, removeFiles, gpu, order, shim }) => {
          run.handle.detach()
          process.kill(shim, 'SIGSTOP')
          removeFiles()
          gpu.adopt(order)
        },
      ],
    ])('when %s', async (_what, strike) => {
      const generation = await aGenerationWithLeftovers()
      freeze(generation.leftovers()[0] as number)
      strike(generation)
      await until(() => generation.gpu.results.length > 0, 'the generation to end')
      expect(generation.gpu.results).toEqual([{ how: 'unkillable' }])
    })
  },
)

describe('a generation that is adopted leaves no process', () => {
  it.each<[what: string, strike: (generation: Generation) => void, how: string]>([
    ['its files were removed', ({ removeFiles }) => removeFiles(), 'lost'],
    [
      'its files were removed, and its shim and the fork server killed',
      ({ removeFiles, forkServer, shim }) => {
        removeFiles()
        for (const pid of [forkServer, shim]) kill(pid)
      },
      'lost',
    ],
    [
      'its files were removed and its shim stands still',
      ({ removeFiles, shim }) => {
        process.kill(shim, 'SIGSTOP')
        removeFiles()
      },
      'lost',
    ],
    [
      'it has written its own end',
      ({ directory }) => writeFileSync(join(directory, 'exit.json'), JSON.stringify(anExit())),
      'completed',
    ],
    ['it poses as its shim', poseAsShim, 'completed'],
    [
      'its shim and the fork server were killed',
      ({ forkServer, shim }) => [forkServer, shim].forEach(kill),
      'lost',
    ],
    [
      'its shim was killed, and its state names a process that never ends',
      ({ directory, shim }) => {
        const path = join(directory, 'state.json')
        const state = JSON.parse(readFileSync(path, 'utf8')) as State
        const stat = readFileSync('/proc/1/stat', 'utf8').split(') ').at(-1)?.split(' ')
        const init = { pid: 1, start: Number(stat?.[19]) }
        writeFileSync(path, JSON.stringify({ ...state, shim: init }))
        kill(shim)
      },
      'lost',
    ],
  ])('when %s', async (_what, strike, how) => {
    const generation = await aGenerationWithLeftovers()
    generation.run.handle.detach()
    strike(generation)
    const adopted = generation.gpu.adopt(generation.order)
    await adopted.end()
    expect(generation.leftAtEnd()).toEqual([])
    expect(adopted.result()).toMatchObject({ how })
  })
})

describe('the output of a generation', () => {
  it('may be endless: what is kept of it has a limit, and its progress is read all the same', async () => {
    const gpu = aGpu({ launcher: false })
    const order = gpu.orderFor('a fox [sim:chatty=300]')
    const run = gpu.start(order)
    await run.end()
    expect(run.result()).toEqual({ how: 'completed' })
    expect(run.latest()).toMatchObject({ stage: 'saving', source: 'log' })
    for (const name of ['stdout.log', 'stderr.log']) {
      const { size } = statSync(join(gpu.directoryOf(order), name))
      expect(size).toBeLessThanOrEqual(32 * 1024 * 1024)
    }
  })
})
