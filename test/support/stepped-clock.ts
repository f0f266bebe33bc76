/** A wall clock that a test sets, for a service of its own. Monotonic time goes on as it is. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** `env` is for the service; `step` sets how far its wall clock is ahead, now and in later runs. */
export function aSteppedClock(directory: string, aheadMs = 0) {
  const file = join(directory, 'clock-ahead-ms')
  const module = join(directory, 'stepped-clock.mjs')
  writeFileSync(
    module,
    `import { readFileSync } from 'node:fs'
     const RealDate = Date
     let ahead = 0
     let readAt = -Infinity
     const aheadMs = () => {
       if (performance.now() - readAt > 20) {
         readAt = performance.now()
         ahead = Number(readFileSync(${JSON.stringify(file)}, 'utf8'))
       }
       return ahead
     }
     globalThis.Date = class Date extends RealDate {
       constructor(...parts) {
         if (parts.length === 0) super(RealDate.now() + aheadMs())
         else super(...parts)
       }
       static now() { return RealDate.now() + aheadMs() }
     }`,
  )
  const step = (ms: number) => writeFileSync(file, String(ms))
  step(aheadMs)
  return { step, env: { NODE_OPTIONS: `--import=${pathToFileURL(module)}` } }
}
