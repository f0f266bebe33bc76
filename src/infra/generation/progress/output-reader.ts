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
import { type BarState, createBarClock } from './bar-clock.ts'
import { type Evidence, weightOf } from './failure.ts'
import { beganUpTo, type Pace, timing, withStep } from './pace.ts'
import { createSplitter, type RecordEnd } from './records.ts'

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
  const lastText: Partial<Record<OutputStream, string>> = {}
  const finalErrors = createFinalErrorFinder()
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
      const lastLine = finalErrors.found ?? lastText.stderr ?? lastText.stdout
      return {
        finished,
        ...(saveError !== undefined && { saveError: quote(saveError) }),
        ...(lastLine !== undefined && { lastLine: quote(lastLine) }),
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
    lastText.stdout = text
    if (text.startsWith(wan21SaveFailed)) saveError = text.slice(wan21SaveFailed.length)
    const stamp = infoStamp.exec(text)?.[0]
    if (stamp === undefined) return
    const message = text.slice(stamp.length)
    if (generating.test(message)) announce('encoding', stamp)
    else if (message.startsWith(saving)) announce('saving', stamp)
    else if (message.startsWith(saveFailed)) saveError = message.slice(saveFailed.length)
    else if (message === 'Finished.') finished = true
  }

  function announce(stage: 'encoding' | 'saving', stamp: string): void {
    if (announced !== 'saving') announced = stage
    stamped = [...stamped.filter((one) => one.stage !== stage), { stage, stamp: timeOf(stamp) }]
    saveError = undefined
    finished = false
  }

  function readStderr(text: string): void {
    isBarLast = false
    lastText.stderr = text
    finalErrors.read(text)
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
    drawn = [...drawn, { step, afterMs: msSinceBarBegan(bar) }]
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

// What generate.py says. Stages need only two of its lines, as any output at all means `loading`.

/** `[%(asctime)s] %(levelname)s: `, the format of its logger, which writes to stdout. */
const infoStamp = /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] INFO: /

/** Its stamps are in UTC, as the service sets TZ. NaN for a date that there is not. */
function timeOf(stamp: string): Timestamp {
  return Date.parse(`${stamp.slice(1, 11)}T${stamp.slice(12, 20)}.${stamp.slice(21, 24)}Z`)
}

/** Without the space in Wan2.1's VACE. */
const generating = /^Generating video ?\.\.\.$/

const saving = 'Saving generated video to '

/** Logged with the text of whatever was raised, which may be none, before `Finished.` and exit 0. */
const saveFailed = 'save_video failed, error:'

/** Printed instead of logged. */
const wan21SaveFailed = 'cache_video failed, error:'

/**
 * `tqdm(timesteps)`: no description, hence nothing before the percentage, which tells it from
 * `Loading checkpoint shards: …`. In a run of several ranks, which one it is may come first. Times
 * are `mm:ss` or `h:mm:ss`, and `?` as long as nothing has been measured.
 */
const samplingBarPattern =
  /^(?:\[rank\d+\]: ?)? {0,3}\d{1,3}%\|[^|]*\| (\d+)\/(\d+) \[([\d:]+)<[\d:?]+, *([\d.?]+)(s\/it|it\/s)\]$/

function samplingBar(text: string): (BarState & { total: number }) | undefined {
  const [, step, total, elapsed = '', rate, unit] = samplingBarPattern.exec(text) ?? []
  if (step === undefined) return undefined
  return {
    step: Number(step),
    total: Number(total),
    elapsedSeconds: elapsed.split(':').reduce((sum, part) => sum * 60 + Number(part), 0),
    secondsPerStep: unit === 's/it' ? Number(rate) : 1 / Number(rate),
  }
}

/** Anybody's bar: as tqdm draws it, whatever its description and unit. */
const anyBar = /\d{1,3}%\|[^|]*\| [^/[\]|]+\/[^/[\]|]+ \[[^[\]]*\]/

/** Put before each line of a traceback in a run of several ranks. */
const rank = /^\[rank\d+\]: ?/

/**
 * The bar that a text begins with, and what was written right after it: an unfinished bar leaves the
 * cursor on its line, so the next thing that is said to stderr ends up there.
 */
function findBar(text: string): { text: string; rest: string } | undefined {
  if (!text.includes('%|')) return undefined
  const match = anyBar.exec(text)
  if (!match) return undefined
  const end = match.index + match[0].length
  return { text: text.slice(0, end), rest: text.slice(end).trim() }
}

/**
 * Folds redraws as a screen would: of a line drawn again and again only the last state is passed on.
 * A redraw has the words of the one before up to its first number, and is a bar if that was one.
 * Blank lines are left out.
 */
function createFold(pass: (line: string) => void) {
  let drawn = ''
  let drawnLabel = ''

  return (text: string, end: RecordEnd): void => {
    const label = text && (drawn || end === 'return') ? labelOf(text) : ''
    if (drawn && (text ? label !== drawnLabel : end === 'newline')) {
      pass(drawn)
      drawn = ''
    }
    if (!text) return
    if (end === 'newline') {
      pass(text)
      drawn = ''
    } else {
      drawn = text
      drawnLabel = label
    }
  }
}

function labelOf(text: string): string {
  const line = text.startsWith('[') ? text.replace(rank, '') : text
  const number = line.search(/\d/)
  const words = (number < 0 ? line : line.slice(0, number)).trim()
  return line.includes('%|') ? `${words}|` : words
}

/**
 * Finds the line that names the error: the first after a traceback that is not indented, or what
 * argparse says. The last traceback wins, except over the cause that torchrun only passes on.
 */
function createFinalErrorFinder() {
  let raised: string | undefined
  let usageError: string | undefined
  let before = ''
  let tracing: 'no' | 'yes' | 'aside' = 'no'

  return {
    get found() {
      return raised ?? usageError
    },
    read(text: string): void {
      const line = text.replace(rank, '')
      if (line.endsWith('Traceback (most recent call last):')) {
        tracing = harmlessTraceback.test(before) ? 'aside' : 'yes'
      } else if (tracing !== 'no' && errorName.test(line)) {
        if (tracing === 'yes' && !(raised && line.includes('ChildFailedError'))) raised = text
        tracing = 'no'
      } else if (argparseError.test(line)) {
        usageError = text
      }
      before = line
    },
  }
}

/** Python reports these and goes on; the first happens for each record in a locale without UTF-8. */
const harmlessTraceback = /^(?:--- Logging error ---|Exception ignored )/

/** `SomeError: message`, or bare, as from an `assert`. The frames before it are indented. */
const errorName = /^[A-Za-z_][\w.]*(?::|$)/

/** Comes after the usage, with exit 2. */
const argparseError = /^\S+\.py: error: /

/** The text as a log can show it: escape sequences and control characters would act on a terminal. */
function plain(record: string): string {
  if (!record || !/\p{Cc}/u.test(record)) return record.trimEnd()
  return record
    .replace(escapeSequence, '')
    .replaceAll('\t', ' ')
    .replace(/\p{Cc}/gu, '')
    .trimEnd()
}

/** ECMA-48: CSI with its parameters, OSC up to its terminator, and the short ones. */
const escapeSequence =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
  /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]/g

const quote = (text: string): string => text.trim().slice(0, maxQuoteLength)
