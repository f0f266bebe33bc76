/**
 * Tells which line of output may be about the end of a run. The last line that a process has written
 * is seldom its cause: a process that a signal ends says nothing, and its last line is a notice.
 */
import { rank } from './final-error.ts'

export type LastWords = Readonly<{
  /** What a runtime says when it ends the process by a signal. */
  crash?: string
  /** The last line that is no notice, warning or progress. It may be about the end, or not. */
  said?: string
}>

/** For stderr, a line at a time. */
export function createLastWords() {
  let crash: string | undefined
  let crashWeight = 0
  let said: string | undefined

  return {
    get found(): LastWords {
      return { ...(crash !== undefined && { crash }), ...(said !== undefined && { said }) }
    },
    /** Returns whether the line may be about the end. */
    read(text: string): boolean {
      const line = text.replace(rank, '')
      const weight = crashWeightOf(line)
      if (weight === 0 && isHarmless(line)) return false
      said = text
      if (weight > 0 && weight >= crashWeight) {
        crash = text
        crashWeight = weight
      }
      return true
    },
    /** The run went on: what was said before did not end it. */
    forget(): void {
      crash = undefined
      crashWeight = 0
      said = undefined
    },
  }
}

/** Whether a line words an error, so that it may be given as the cause when nothing else is known. */
export const namesError = (line: string): boolean => !isHarmless(line) && errorWords.test(line)

/** An error of the logger, in whose format everything on stdout comes that is not printed. */
export const isLoggedError = (line: string): boolean =>
  /^(?:ERROR|CRITICAL|FATAL)$/.test(levelOf(line) ?? '')

function isHarmless(line: string): boolean {
  const level = levelOf(line)
  return (
    (level !== undefined && /^(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING)$/.test(level)) ||
    progress.test(line) ||
    warning.test(line) ||
    // The source line under a warning, the frames of a traceback.
    /^\s/.test(line)
  )
}

/** The first level that a line names near its beginning, whichever logger has written it. */
function levelOf(line: string): string | undefined {
  if (glogNotice.test(line)) return 'INFO'
  return level.exec(line.slice(0, maxPrefix))?.[1]
}

/** A stamp, the name of a module and the like come before the level. */
const maxPrefix = 120

const level =
  /(?:^|[\s[(|:,-])(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)(?=[\s\])|:,-]|$)/

/** `W0000 00:00:1732 cuda_dnn.cc:8310] …` of C++, `[W1128 10:12:13.1 NCCL.cpp:3] …` of torch. */
const glogNotice = /^\[?[IWV]\d{4} \d\d:\d\d:/

/** `UserWarning: …`, `/x.py:3: FutureWarning: …`, `warning: …` */
const warning = /(?:^|[\s:(])\w*warning:/i

/** A bar, whole or cut off; a percentage that the line ends with; what NCCL says at its start. */
const progress = /\d{1,3}%\s?\||\b\d{1,3}(?:\.\d+)?\s?%(?:\s*[[(|].*)?$|^NCCL version /

/** From the most telling to the least: what the C++ exception says, which runtime check failed, how it ended. */
const crashes = [
  /^\s*what\(\): +\S/,
  /^Fatal Python error|^LLVM ERROR|\bAssertion\b.*\bfailed|^terminate called after|^(?:double free|free\(\)|malloc|munmap_chunk|corrupted (?:size|double-linked|unsorted))|\*\*\* stack smashing|GLIBC(?:XX)?_\d.*not found|\bXid\b/,
  /^(?:\S+: )?(?:.*line \d+: +\d+ +)?(?:Segmentation fault|Aborted|Bus error|Illegal instruction|Floating point exception|Trace\/breakpoint trap)(?:\s*\(.*|:.*)?$|core dumped/,
]

const crashWeightOf = (line: string): number => {
  const index = crashes.findIndex((pattern) => pattern.test(line))
  return index < 0 ? 0 : crashes.length - index
}

const errorWords =
  /\w(?:Error|Exception)\b|\b(?:error|exception|fatal|fail(?:s|ed|ure|ures)?|abort(?:s|ed|ing)?|killed|terminat(?:e|ed|ing)|cannot|can['’]t|could not|couldn['’]t|unable to|not found|no such|denied|refused|out of memory|exceed(?:s|ed)|corrupt(?:ed|ion)?|invalid|illegal|undefined symbol|segmentation fault|core dumped|panicked|assert\w*|missing|must)\b/i
