/** Progress bars of tqdm, as they are drawn on stderr. */
import type { BarState } from './bar-clock.ts'

/** State of the sampling bar, if the text is one. */
export function samplingBar(text: string): (BarState & { total: number }) | undefined {
  const [, step, total, elapsed = '', rate, unit] = samplingBarPattern.exec(text) ?? []
  if (step === undefined) return undefined
  return {
    step: Number(step),
    total: Number(total),
    elapsedSeconds: elapsed.split(':').reduce((sum, part) => sum * 60 + Number(part), 0),
    secondsPerStep: unit === 's/it' ? Number(rate) : 1 / Number(rate),
  }
}

/**
 * The bar that a text begins with, and what was written right after it: an unfinished bar leaves the
 * cursor on its line, so the next thing that is said to stderr ends up there.
 */
export function findBar(text: string): { text: string; rest: string } | undefined {
  if (!text.includes('%|')) return undefined
  const match = anyBar.exec(text)
  if (!match) return undefined
  const end = match.index + match[0].length
  return { text: text.slice(0, end), rest: text.slice(end).trim() }
}

/**
 * `tqdm(timesteps)`: no description, hence nothing before the percentage, which tells it from
 * `Loading checkpoint shards: …`. In a run of several ranks, which one it is may come first. Times
 * are `mm:ss` or `h:mm:ss`, and `?` as long as nothing has been measured.
 */
const samplingBarPattern =
  /^(?:\[rank\d+\]: ?)? {0,3}\d{1,3}%\|[^|]*\| (\d+)\/(\d+) \[([\d:]+)<[\d:?]+, *([\d.?]+)(s\/it|it\/s)\]$/

/** Anybody's bar: as tqdm draws it, whatever its description and unit. */
const anyBar = /\d{1,3}%\|[^|]*\| [^/[\]|]+\/[^/[\]|]+ \[[^[\]]*\]/
