/**
 * Many generations of all kinds, forked from one template. `TEMPLATE_JOBS` sets their number; 300 take
 * some minutes.
 */
import { describe, expect, it } from 'vitest'
import { aPicture } from '../../support/pictures.ts'
import { isAlive } from '../../support/shim-attempt.ts'
import {
  aCheckout,
  aForkServer,
  aGeneration,
  aReadyTemplate,
  descriptorsOf,
  type Generation,
  privateKiB,
  start,
  templatesIn,
} from '../../support/warm/warm-attempt.ts'

const kinds = (picture: string): readonly Parameters<typeof aGeneration>[1][] => [
  { prompt: 'a fox' },
  { prompt: 'an owl', args: ['--size', '704*1280', '--frame_num', '9'] },
  { prompt: 'a hare', args: ['--image', picture] },
  { prompt: 'a wolf', options: ['--negative-prompt=owls'], args: ['--sample_steps', '2'] },
  { prompt: '[sim:exit-1]' },
  { prompt: '[sim:oom]', args: ['--image', picture, '--frame_num', '9'] },
  { prompt: '[sim:kill-self]' },
  { prompt: '[sim:segfault]' },
  { prompt: '[sim:oom-save]' },
  { prompt: '[sim:no-file-silent]', args: ['--size', '704*1280'] },
  { prompt: '[sim:strays]' },
  { args: ['--frame_num', 'many'] },
]

const jobs = Number(process.env.TEMPLATE_JOBS ?? 2 * kinds('').length)

/** Bytes that the allocator of Python may keep of one generation, whatever came before. */
const maxGrowthKiB = 256

describe('a template', () => {
  it(`is as it was after ${jobs} generations, which say and end as cold ones do`, {
    timeout: 60_000 + 10_000 * jobs,
  }, async () => {
    const server = aForkServer()
    const checkout = aCheckout()
    const all = kinds(aPicture(checkout.root, 'image.png'))
    const colds = []
    for (const kind of all) {
      const cold = aGeneration(checkout, kind)
      await start(server, cold).ended
      colds.push(await outcomeOf(cold))
    }

    const template = await aReadyTemplate(server, checkout)
    const pid = template.pid()
    const sizes: { memory: number; open: number }[] = []
    for (let n = 0; n < jobs; n++) {
      const warm = aGeneration(checkout, all[n % all.length])
      const { started, ended } = start(server, warm, { template: template.run })
      expect(await started()).toEqual({ start: 'warm' })
      await ended
      expect(await outcomeOf(warm)).toEqual(colds[n % all.length])
      sizes.push({ memory: privateKiB(pid), open: descriptorsOf(pid) })
    }

    expect(templatesIn(checkout.cwd)).toEqual([pid])
    expect(isAlive(pid)).toBe(true)
    const [first] = sizes
    expect(sizes).toHaveLength(jobs)
    expect(new Set(sizes.map(({ open }) => open))).toEqual(new Set([first?.open]))
    const most = Math.max(...sizes.map(({ memory }) => memory))
    expect(most - (first?.memory ?? 0)).toBeLessThan(maxGrowthKiB)
  })
})

/** Its end, its stages, and what it says, but for loading and for times. */
async function outcomeOf(generation: Generation) {
  const { code, signal, error } = await generation.exit()
  const isLoading = (line: string) => /^INFO: loading .*umt5|checkpoint shards/.test(line)
  const isBar = (line: string) => line.includes('%|')
  const said = (stream: 'stdout' | 'stderr') =>
    generation
      .said(stream)
      .split(/[\r\n]/)
      .filter((line) => line !== '' && !isLoading(line) && !isBar(line))
  const told = generation.has('events.jsonl')
    ? generation.events().flatMap(({ event }) => (event === 'step' ? [] : [event]))
    : []
  return { code, signal, error, stdout: said('stdout'), stderr: said('stderr'), told }
}
