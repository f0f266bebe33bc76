import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Gauge, type Registry } from 'prom-client'

/**
 * How often the lateness of a timer is measured. Each measurement wakes a process that would sleep: at the
 * 10 ms of prom-client these are most of what an idle service does (0.7 % of a core), at 50 ms still half.
 */
const everyMs = 200

const theirs = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99']

/**
 * How late the loop's timers were since the scrape before. prom-client's figures of the same names,
 * which these stand for, have the interval of the looks in them.
 */
export function measureLoopDelay(registry: Registry): void {
  const delays = monitorEventLoopDelay({ resolution: everyMs })
  delays.enable()
  const fullName = (name: string) => `nodejs_eventloop_lag_${name}_seconds`
  for (const name of theirs) registry.removeSingleMetric(fullName(name))
  const gauge = (name: string, what: string, collect?: () => void) => {
    const help = `${what} by which timers of the event loop were late since the last scrape.`
    return new Gauge({
      name: fullName(name),
      help,
      registers: [registry],
      ...(collect && { collect }),
    })
  }
  const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - everyMs / 1e3)
  // The first of them is collected first, and sets all.
  const mean = gauge('mean', 'Mean of the time', () => {
    mean.set(seconds(delays.count > 0 ? delays.mean : 0))
    p50.set(seconds(delays.percentile(50)))
    p90.set(seconds(delays.percentile(90)))
    p99.set(seconds(delays.percentile(99)))
    max.set(seconds(delays.max))
    delays.reset()
  })
  const p50 = gauge('p50', 'Median of the time')
  const p90 = gauge('p90', '90th percentile of the time')
  const p99 = gauge('p99', '99th percentile of the time')
  const max = gauge('max', 'Longest time')
}
