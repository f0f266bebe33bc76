/** A bar as tqdm draws it through a pipe, with the moments of its states. */
export type Drawn = Readonly<{ text: string; step: number; at: number }>

/** `seconds`: how long each step takes. As with tqdm, at most one state per tenth of a second. */
export function drawBar(seconds: readonly number[], beganAt: number): Drawn[] {
  const total = seconds.length
  const stateOf = (step: number, elapsed: number, rate: number | undefined) => {
    const percent = `${Math.round((100 * step) / total)}`.padStart(3)
    const left = rate ? clock((total - step) * rate) : '?'
    const text = `\r${percent}%|▏         | ${step}/${total} [${clock(elapsed)}<${left}, ${rateText(rate)}]`
    return { text, step, at: Math.round(beganAt + elapsed * 1000) }
  }
  const drawn: Drawn[] = [stateOf(0, 0, undefined)]
  let elapsed = 0
  let [drawnStep, drawnAt, smoothSteps, smoothSeconds] = [0, 0, 0, 0]
  seconds.forEach((took, index) => {
    elapsed += took
    const [steps, since] = [index + 1 - drawnStep, elapsed - drawnAt]
    if (since < 0.1) return
    smoothSteps = 0.3 * steps + 0.7 * smoothSteps
    smoothSeconds = 0.3 * since + 0.7 * smoothSeconds
    drawn.push(stateOf(index + 1, elapsed, smoothSeconds / smoothSteps))
    drawnStep = index + 1
    drawnAt = elapsed
  })
  const last = stateOf(total, elapsed, elapsed / total)
  return [...drawn, { ...last, text: `${last.text}\n` }]
}

function clock(seconds: number): string {
  const [s, m, h] = [seconds % 60, (seconds / 60) % 60, seconds / 3600].map(Math.floor)
  const two = (n = 0) => String(n).padStart(2, '0')
  return h ? `${h}:${two(m)}:${two(s)}` : `${two(m)}:${two(s)}`
}

function rateText(rate: number | undefined): string {
  if (!rate) return '?it/s'
  return rate > 1
    ? `${rate.toFixed(2).padStart(5)}s/it`
    : `${(1 / rate).toFixed(2).padStart(5)}it/s`
}
