/** What was asked of a command by Ctrl-C or by its end. */
import { CommandError, type ExitCode, exitCodes } from './failure.ts'

export type Interruption = Readonly<{ signal: AbortSignal; [Symbol.dispose](): void }>

const codes: Readonly<Partial<Record<NodeJS.Signals, ExitCode>>> = {
  SIGINT: exitCodes.interrupted,
  SIGTERM: exitCodes.terminated,
}

/** The first signal aborts with a `CommandError` that says `farewell`; the next one ends at once. */
export function listenForInterruption(farewell: () => string): Interruption {
  const controller = new AbortController()
  const { signal } = controller
  const listen = (name: NodeJS.Signals) => {
    const code = codes[name] ?? exitCodes.interrupted
    if (signal.aborted) process.exit(code)
    // It stays, as a signal that nobody listens for ends the process on the spot.
    controller.abort(new CommandError(code, farewell()))
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, listen)
  return {
    signal,
    [Symbol.dispose]() {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, listen)
    },
  }
}

/** Whatever breaks when a signal has come breaks because of it. */
export async function unlessInterrupted<Result>(
  { signal }: Interruption,
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  }
}
