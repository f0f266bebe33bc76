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
  const abort = (name: NodeJS.Signals) => {
    stopListening()
    controller.abort(new CommandError(codes[name] ?? exitCodes.interrupted, farewell()))
  }
  const stopListening = () => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, abort)
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, abort)
  return { signal: controller.signal, [Symbol.dispose]: stopListening }
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
