/** Checks that run one after the other in limited time, and how each ended. */
import { messageOf } from '../../src/domain/errors.ts'

/** `not done`: there was no time, or an earlier check did not give what this one needs. */
export type Verdict = 'ok' | 'failed' | 'not done'

/** Quantities by their names, which end in the unit. */
export type Figures = Readonly<Record<string, unknown>>

export type Row = Readonly<{
  check: string
  verdict: Verdict
  seconds: number
  /** For people: what was found, or why not. */
  detail: string
  figures: Figures
}>

export type Found<T> = Readonly<{ detail: string; figures?: Figures; value: T }>

/** Thrown where a check cannot be made, which says nothing against what it would have checked. */
export class NotDoneError extends Error {
  override readonly name = 'NotDoneError'
}

export const timeIsUp = (): NotDoneError =>
  new NotDoneError('the time was up; --minutes gives it more')

export type Clock = Readonly<{ leftMs(): number; signal: AbortSignal }>

export type Checks = ReturnType<typeof createChecks>

export function createChecks(clock: Clock, say: (line: string) => void) {
  const rows: Row[] = []

  function note(row: Row): void {
    rows.push(row)
    const seconds = `${row.seconds.toFixed(1)} s`.padStart(8)
    say(`${row.verdict.padEnd(8)} ${seconds}  ${row.check}: ${row.detail}`)
  }

  return {
    rows: rows as readonly Row[],
    clock,

    /** Gives the value of the check, or undefined if it was not passed. Never rejects. */
    async check<T>(name: string, run: () => Promise<Found<T>>): Promise<T | undefined> {
      const begin = performance.now()
      const end = (verdict: Verdict, detail: string, figures: Figures = {}) =>
        note({ check: name, verdict, seconds: (performance.now() - begin) / 1000, detail, figures })
      try {
        if (clock.leftMs() <= 0) throw timeIsUp()
        const { detail, figures, value } = await run()
        end('ok', detail, figures)
        return value
      } catch (error) {
        const fault = clock.leftMs() <= 0 ? timeIsUp() : error
        const figures = error instanceof FailedError ? error.figures : {}
        end(fault instanceof NotDoneError ? 'not done' : 'failed', messageOf(fault), figures)
        return undefined
      }
    },

    leaveOut(names: readonly string[], why: string): void {
      for (const check of names) {
        note({ check, verdict: 'not done', seconds: 0, detail: why, figures: {} })
      }
    },

    areAllOk: () => rows.every(({ verdict }) => verdict === 'ok'),
  }
}

/** A check that was made and not passed, with what was measured. */
export class FailedError extends Error {
  override readonly name = 'FailedError'
  readonly figures: Figures

  constructor(message: string, figures: Figures = {}) {
    super(message)
    this.figures = figures
  }
}

export const tableOf = (rows: readonly Row[]): string =>
  [
    ['check', 'verdict', 'seconds', 'found'],
    ['---', '---', '---:', '---'],
    ...rows.map(({ check, verdict, seconds, detail }) => [
      check,
      verdict === 'ok' ? verdict : `**${verdict}**`,
      seconds.toFixed(1),
      cell(detail),
    ]),
  ]
    .map((cells) => `| ${cells.join(' | ')} |\n`)
    .join('')

/** In one line, and with no end of a cell in it. */
const cell = (text: string): string => text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|')
