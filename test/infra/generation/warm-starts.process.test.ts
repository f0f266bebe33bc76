import { describe, expect, it, onTestFinished } from 'vitest'
import type {
  TemplateEvent,
  TemplateMessage,
} from '../../../src/actors/template/template-protocol.ts'
import { createWarmStarts, saysForkFault } from '../../../src/infra/generation/warm-starts.ts'
import { gpu0, gpu1 } from '../../support/jobs.ts'
import { until } from '../../support/shim-attempt.ts'
import {
  aCheckout,
  aForkServer,
  fast,
  python,
  templatesIn,
} from '../../support/warm/warm-attempt.ts'

const gpus = [
  { id: gpu0, device: '0' },
  { id: gpu1, device: '1' },
]

/** Templates of the simulator on two GPUs, on a host with 8 bytes of memory. */
function someWarmStarts({ bytesToLoad = 8, env = {} as NodeJS.ProcessEnv } = {}) {
  const { cwd, checkpoint } = aCheckout()
  const told: TemplateMessage[] = []
  const heard: TemplateEvent[] = []
  const starts = createWarmStarts({
    wan: {
      ...{ python, wanDir: cwd, ckptDir: checkpoint, task: 'ti2v-5B', extraArgs: [] },
      ...{ launcher: true, sdpa: false, fastLoad: true },
    },
    ...{ gpus, env: { ...fast, ...env }, forkServer: aForkServer() },
    bytesToLoad,
    availableBytes: () => 8,
    hasStandby: false,
    tell: (message) => told.push(message),
  })
  onTestFinished(starts.end)
  const hear = (event: TemplateEvent) => void heard.push(event)
  return {
    ...{ starts, told, heard, cwd },
    build: () => starts.build(1, hear),
    probe: () => starts.probe(1, hear),
    hears: async (type: TemplateEvent['type']) => {
      await until(() => heard.some((event) => event.type === type), `to hear ${type}`)
      return heard.find((event) => event.type === type)
    },
  }
}

describe('warm starts', () => {
  it('build no template while the host has less memory than a load takes', () => {
    const { build, heard, cwd } = someWarmStarts({ bytesToLoad: 24 * 1024 ** 3 })
    build()
    const why = '0.0 GiB of host memory are available, and loading takes up to 24.0 GiB'
    expect(heard).toEqual([{ type: 'notLoaded', build: 1, why }])
    expect(templatesIn(cwd)).toEqual([])
  })

  it('probe a GPU that has no generation', async () => {
    const { starts, build, probe, hears, heard } = someWarmStarts()
    build()
    await hears('loaded')
    starts.occupy(gpu0)
    starts.occupy(gpu1)
    probe()
    expect(heard.map(({ type }) => type)).toEqual(['loaded'])
    starts.vacate(gpu1)
    expect(await hears('probed')).toEqual({ type: 'probed', build: 1 })
  })

  it('probe one on which the last generation has succeeded, if there is any: others may be broken', async () => {
    const { starts, build, probe, hears, heard } = someWarmStarts({
      env: { SIM_FORK_FAULT: 'oom:0' },
    })
    build()
    await hears('loaded')
    for (const gpu of [gpu0, gpu1]) starts.completed(gpu)
    starts.failed(gpu0)
    starts.occupy(gpu1)
    probe()
    starts.occupy(gpu0)
    starts.vacate(gpu0)
    expect(heard.map(({ type }) => type)).toEqual(['loaded'])
    starts.vacate(gpu1)
    expect(await hears('probed')).toEqual({ type: 'probed', build: 1 })
  })

  it('blame a fork only where a generation has succeeded', async () => {
    const { build, probe, hears } = someWarmStarts({ env: { SIM_FORK_FAULT: 'cuda' } })
    build()
    await hears('loaded')
    probe()
    expect(await hears('probed')).toMatchObject({ isForkFault: false })
  })

  it('say why a probe failed', async () => {
    const { starts, build, probe, hears } = someWarmStarts({ env: { SIM_FORK_FAULT: 'cuda' } })
    starts.completed(gpu0)
    build()
    await hears('loaded')
    probe()
    expect(await hears('probed')).toMatchObject({
      why: expect.stringContaining('Cannot re-initialize CUDA in forked subprocess'),
      isForkFault: true,
    })
  })

  it('give up a template that does not fork the probe, whatever the GPU can do', async () => {
    const { build, probe, hears, heard, cwd } = someWarmStarts()
    build()
    await hears('loaded')
    const [template = 0] = templatesIn(cwd)
    process.kill(template, 'SIGSTOP')
    probe()
    // The end of the template itself is another piece of news, and comes at about the same time.
    const saysSo = (event: TemplateEvent) =>
      event.type === 'ended' && event.why.includes('did not answer')
    await until(() => heard.some(saysSo), 'to hear that it did not answer')
  })
})

describe('a failure', () => {
  it.each([
    ['RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with', true],
    ['RuntimeError: CUDA error: initialization error', true],
    ['torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.72 GiB', false],
    ['RuntimeError: CUDA error: an illegal memory access was encountered', false],
  ])('is that of a fork, or not: %s', (message, isSo) => {
    expect(saysForkFault(message)).toBe(isSo)
  })
})
