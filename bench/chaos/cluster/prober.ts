/** Asks living nodes again and again, as a client of the cluster would. */
import type { ChaosNode } from './nodes.ts'

const everyMs = 200
const patienceMs = 3_000
/** Answers that are farther apart than this are worth counting. */
const gapMs = 1_000

/** Time without an answer of the leader, in milliseconds. */
export type Gap = Readonly<{ from: number; to: number }>

/** The clocks of nodes that stand still or are off stay out of it. */
export function isLiving({ service, stops }: ChaosNode): boolean {
  return service.url() !== undefined && !stops.isFrozen
}

export function probe(nodes: readonly ChaosNode[]) {
  const gaps: Gap[] = []
  let answeredAt = Date.now()
  let turn = 0
  const timer = setInterval(ask, everyMs)
  return {
    gaps: gaps as readonly Gap[],
    stop: () => clearInterval(timer),
  }

  function ask(): void {
    const living = nodes.filter(isLiving)
    const node = living[turn++ % Math.max(1, living.length)]
    if (!node) return
    const signal = AbortSignal.timeout(patienceMs)
    fetch(`${node.service.url()}/gpus`, { signal }).then(heard, () => {})
  }

  async function heard(response: Response): Promise<void> {
    await response.body?.cancel()
    if (!response.ok) return
    const gap = { from: answeredAt, to: Date.now() }
    if (gap.to - gap.from > gapMs) gaps.push(gap)
    answeredAt = gap.to
  }
}
