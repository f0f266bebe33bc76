/**
 * Finds the line that names the error: the first after a traceback that is not indented, or what
 * argparse says. The last traceback wins, except over the cause that torchrun only passes on.
 */
export function createFinalErrorFinder() {
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
    /** The run went on. Another rank's error is none of its business. */
    forget(): void {
      if (raised === undefined || !rank.test(raised)) raised = undefined
    },
  }
}

/** Put before each line of a traceback in a run of several ranks. */
export const rank = /^\[rank\d+\]: ?/

/** Python reports these and goes on; the first happens for each record in a locale without UTF-8. */
const harmlessTraceback = /^(?:--- Logging error ---|Exception ignored )/

/** `SomeError: message`, or bare, as from an `assert`. The frames before it are indented. */
const errorName = /^[A-Za-z_][\w.]*(?::|$)/

/** Comes after the usage, with exit 2. */
const argparseError = /^\S+\.py: error: /
