/**
 * Reads what an unmodified `generate.py` writes, and tells how far it has come and how it ended.
 *
 * The two streams come through separate pipes, in no order that could be relied on. So each is read
 * by itself, its part of the reading only ever advances, and the reading is worked out from both: it
 * never goes back, and it does not depend on which stream was heard first.
 *
 * What can be believed: INFO lines are on stdout, where a prompt with line breaks can print lines of
 * its own; the bar is on stderr, where it cannot. Hence stdout alone takes the reading no further
 * than `encoding`, and `Saving …` counts once the bar is full. What a forged line can still do is
 * show `encoding` while the model loads, and `saving` while the VAE decodes. In a run that draws no
 * bar a forged line looks like a true one, so `saving` is believed only at the end of the output,
 * when it is known that there was no bar. About the end, only what follows the last line that starts
 * a stage is believed: the true ones come after the prompt was printed.
 *
 * When something was said is when the file it is in was last written to, which is also right for the
 * last words in a file that is read all over again. What came before those is put in its place by
 * the clocks in the output itself, as far as they agree: the bar's, and the stamps of INFO lines.
 */
import type { GenerationStage, Reading, StageBegins, Timestamp } from '../../../domain/job.ts'
import { createBarClock } from './bar-clock.ts'
import { type Evidence, weightOf } from './failure.ts'
import { createFinalErrorFinder, rank } from './final-error.ts'
import { createFold } from './folded-lines.ts'
import { createLastWords, isLoggedError } from './last-words.ts'
import { beganUpTo, type Pace, timing, withStep } from './pace.ts'
import { plain } from './plain-text.ts'
import { createSplitter } from './records.ts'
import { findBar, samplingBar } from './sampling-bar.ts'
import { scriptLine } from './script-lines.ts'

export type OutputStream = 'stdout' | 'stderr'

export type OutputReader = {
  /**
   * Takes bytes in chunks of any size; returns the log lines that they completed. `writtenAt`: the
   * last of them; undefined as long as there is more to be read, which it will come with.
   */
  feed(stream: OutputStream, bytes: Uint8Array, writtenAt?: Timestamp): string[]
  /** No more bytes will come: returns the log lines that were left without an end. */
  end(): string[]
  /** The latest reading; undefined before the first sign of life. */
  readonly reading: Reading | undefined
  /** What the output so far says about the outcome. */
  readonly evidence: Evidence
}

/** The longest line that is read; the rest of a longer one is dropped. */
export const maxLineBytes = 64 * 1024

const maxQuoteLength = 500

/** Far more than a bar takes, so that a long unfinished line is not looked at again and again. */
const maxBarBytes = 512

/** After an error, a bar may draw once more where it had come to. Drawn on, it tells that the run went on. */
const drawsAfterError = 1

export function createOutputReader({
  totalSteps,
  startedAt,
}: {
  totalSteps: number
  startedAt: Timestamp
}): OutputReader {
  let lines: string[] = []
  let alive = false
  let ended = false
  let announced: GenerationStage = 'loading'
  let step: number | undefined
  let finished = false
  let saveError: string | undefined
  let errorLine: string | undefined
  let errorWeight = 0
  let began: StageBegins = { loading: startedAt }
  let pace: Pace = []
  let latest = startedAt
  let stamped: readonly Readonly<{ stage: GenerationStage; stamp: Timestamp }>[] = []
  let drawn: readonly Readonly<{ step: number; afterMs: number }>[] = []
  let drawnBefore: { at: Timestamp; afterMs: number } | undefined
  let isBarLast = false
  const msSinceBarBegan = createBarClock()
  let loggedError: string | undefined
  let drawsSinceError = 0
  const finalErrors = createFinalErrorFinder()
  const lastWords = createLastWords()
  const log = (line: string) => lines.push(line)
  const folds = { stdout: createFold(log), stderr: createFold(log) }
  const splitters = {
    stdout: createSplitter(maxLineBytes, (record, end) => {
      const text = plain(record)
      if (text) readStdout(text)
      folds.stdout(text, end)
    }),
    stderr: createSplitter(maxLineBytes, (record, end) => {
      let text = plain(record)
      for (let bar = findBar(text); bar; bar = findBar(text)) {
        readBar(bar.text)
        text = bar.rest
        folds.stderr(bar.text, end)
        if (!text) return
      }
      if (text) readStderr(text)
      folds.stderr(text, end)
    }),
  }

  return {
    feed(stream, bytes, writtenAt) {
      alive ||= bytes.length > 0
      const splitter = splitters[stream]
      splitter.push(bytes)
      if (stream === 'stderr') {
        // A bar's end is only written with its next state, a step later: do not wait for it.
        const bar = findBar(plain(splitter.peek(maxBarBytes)))
        if (bar) readBar(bar.text)
      }
      if (writtenAt !== undefined) {
        latest = Math.max(latest, writtenAt)
        if (stream === 'stdout') placeLines(writtenAt)
        else placeSteps(Math.max(startedAt, writtenAt))
      }
      return takeLines()
    },
    end() {
      for (const stream of ['stdout', 'stderr'] as const) {
        splitters[stream].end()
        folds[stream]('', 'newline')
      }
      ended = true
      return takeLines()
    },
    get reading(): Reading | undefined {
      if (!alive) return undefined
      const position = whereItIs()
      return {
        ...position,
        source: 'log',
        began: beganUpTo(position.stage, began, latest),
        ...timing(pace),
      }
    },
    get evidence() {
      const { found: raised } = finalErrors
      const { crash, said = loggedError } = lastWords.found
      return {
        finished,
        ...(saveError !== undefined && { saveError: quote(saveError) }),
        ...(raised !== undefined && { raised: quote(raised) }),
        ...(crash !== undefined && { crash: quote(crash) }),
        ...(said !== undefined && { said: quote(said) }),
        ...(errorLine !== undefined && { errorLine: quote(errorLine) }),
      }
    },
  }

  function whereItIs(): Pick<Reading, 'stage' | 'step' | 'totalSteps'> {
    if (step === undefined) {
      return { stage: announced === 'saving' && !ended ? 'encoding' : announced }
    }
    if (step < totalSteps) return { stage: 'denoising', step, totalSteps }
    return { stage: announced === 'saving' ? 'saving' : 'decoding' }
  }

  function takeLines(): string[] {
    const taken = lines
    lines = []
    return taken
  }

  function readStdout(text: string): void {
    if (isLoggedError(text)) loggedError = text
    const line = scriptLine(text)
    if (line?.says === 'saveFailed') saveError = line.error
    else if (line?.says === 'finished') finished = true
    else if (line) announce(line.says, line.at)
  }

  function announce(stage: 'encoding' | 'saving', stamp: Timestamp): void {
    if (announced !== 'saving') announced = stage
    stamped = [...stamped.filter((one) => one.stage !== stage), { stage, stamp }]
    saveError = undefined
    finished = false
    loggedError = undefined
  }

  function readStderr(text: string): void {
    isBarLast = false
    finalErrors.read(text)
    if (lastWords.read(text)) drawsSinceError = 0
    const weight = weightOf(text)
    if (weight <= errorWeight) return
    errorWeight = weight
    errorLine = text
  }

  /**
   * Only a bar of as many steps as were asked for is the sampling's: the number is always passed on
   * the command line, so a bar of another length belongs to some library. The largest step counts:
   * that merges the bars of several ranks, and where a task draws one bar per clip, the reading
   * stays at `decoding` after the first, as nothing tells how many clips will follow.
   */
  function readBar(text: string): void {
    const bar = samplingBar(text)
    isBarLast = bar?.total === totalSteps && bar.step <= totalSteps
    if (!bar || !isBarLast || bar.step <= (step ?? -1)) return
    step = bar.step
    drawsSinceError += 1
    if (drawsSinceError > drawsAfterError) forgetErrors()
    drawn = [...drawn, { step, afterMs: msSinceBarBegan(bar) }]
  }

  /** A run that draws on has survived them. In a run of several ranks it may be another that draws. */
  function forgetErrors(): void {
    finalErrors.forget()
    lastWords.forget()
    if (errorLine === undefined || rank.test(errorLine)) return
    errorLine = undefined
    errorWeight = 0
  }

  /** A stamp may be forged, but not beyond what is known: it began after us, and has been read. */
  function placeLines(writtenAt: Timestamp): void {
    for (const { stage, stamp } of stamped) {
      const isPlausible = startedAt <= stamp && stamp <= writtenAt
      began = { ...began, [stage]: isPlausible ? stamp : writtenAt }
    }
    stamped = []
  }

  /**
   * The last state of the bar was drawn when the file was written, if nothing follows it there; the
   * others as much earlier as the bar says.
   */
  function placeSteps(writtenAt: Timestamp): void {
    const last = drawn.at(-1)
    if (!last) return
    const sinceBefore = drawnBefore && drawnBefore.at + last.afterMs - drawnBefore.afterMs
    const lastAt = isBarLast ? writtenAt : Math.min(writtenAt, sinceBefore ?? writtenAt)
    began = { denoising: Math.max(startedAt, lastAt - last.afterMs), ...began }
    for (const one of drawn) {
      const at = Math.max(startedAt, lastAt - (last.afterMs - one.afterMs))
      pace = withStep(pace, one.step, at)
    }
    const at = pace.at(-1)?.at ?? lastAt
    drawnBefore = { at, afterMs: last.afterMs }
    if (step === totalSteps) began = { decoding: at, ...began }
    drawn = []
  }
}

const quote = (text: string): string => text.trim().slice(0, maxQuoteLength)
