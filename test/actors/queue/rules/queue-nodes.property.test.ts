/**
 * The queue's rules against several machines: fast-check makes up the stories, the world
 * (support/node-world.ts) watches that what must be so stays so. `QUEUE_MODEL_RUNS` sets their number.
 */
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { createNodeWorld, type NodeWorld } from '../../../support/node-world.ts'
import { oftenIn } from '../../../support/often.ts'

const runs = Number(process.env.QUEUE_MODEL_RUNS ?? 400)
const seed = 20_261_130

type May = Parameters<Parameters<NodeWorld['let']>[0]>[0]
const often = oftenIn<May, NodeWorld>()

const which = fc.nat(20)
const numbers = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 3 })
const code = fc.option(fc.constantFrom('gpu_error', 'disk_full', 'timeout'), {
  nil: undefined,
  freq: 2,
})

/** What may happen, the ordinary more often than the rest. */
const commands = [
  ...often(20, 'a job is submitted', fc.constant(undefined), (may) => may.submit()),
  ...often(60, 'a letter is delivered', fc.constant(undefined), (may) => may.deliver()),
  ...often(60, 'a GPU reads an order', which, (may, which) => may.readOrder(which)),
  ...often(20, 'a generation goes on', which, (may, which) => may.progress(which)),
  ...often(16, 'a generation ends', fc.tuple(which, code), (may, end) => may.endGeneration(...end)),
  ...often(16, 'a conversion is done', which, (may, which) => may.endConversion(which)),
  ...often(8, 'jobs are canceled', numbers, (may, numbers) => may.cancel(numbers)),
  ...often(5, 'a letter is lost', which, (may, which) => may.loseLetter(which)),
  ...often(5, 'a letter is doubled', which, (may, which) => may.doubleLetter(which)),
  ...often(8, 'a machine is cut off', which, (may, which) => may.goAway(which, 'cut')),
  ...often(4, 'a machine is switched off', which, (may, which) => may.goAway(which, 'off')),
  ...often(12, 'a node counts as lost', which, (may, which) => may.countAsLost(which)),
  ...often(2, 'a node has left', which, (may, which) => may.leave(which)),
  ...often(2, 'a node is removed', which, (may, which) => may.remove(which)),
  ...often(12, 'a machine comes back', which, (may, which) => may.comeBack(which)),
  ...often(3, 'a node says that it is there', which, (may, which) => may.sayAgain(which)),
  ...often(5, 'a node looks at its disks', fc.tuple(which, fc.boolean()), (may, look) =>
    may.seeRoom(...look),
  ),
  ...often(
    4,
    'an operator decides on a node',
    fc.tuple(which, fc.constantFrom('drainNode', 'resumeNode')),
    (may, word) => may.drain(...word),
  ),
  ...often(4, 'another node leads', which, (may, which) => may.changeTerm(which)),
]

const options = fc.record({
  orphanPolicy: fc.constantFrom('adopt', 'requeue', 'fail'),
  maxConcurrentLoads: fc.integer({ min: 1, max: 2 }),
})

const story = fc.property(
  options,
  fc.commands(commands, { maxCommands: 250, size: 'max' }),
  (options, commands) => {
    const world = createNodeWorld(options)
    fc.modelRun(() => ({ model: {}, real: world }), commands)
    world.settle()
  },
)

describe('the queue of several nodes', () => {
  it(`keeps its word in ${runs} stories of lost letters, lost nodes and changes of the leader`, () => {
    fc.assert(story, { seed, numRuns: runs })
  })
})
