/** One of those that are measured side by side: a queue, and what does its jobs. */
export type Contender = Readonly<{
  name: string
  /** Everything started, and nothing handed in yet. Rejects with `NotInstalled`. */
  open(directory: string): Promise<Opened>
}>

export type Opened = Readonly<{
  /** What runs, with the settings that it was asked for and has confirmed. */
  what: string
  /** Hands in these jobs; resolves when it says of the last one that it has succeeded. */
  run(jobs: readonly number[]): Promise<void>
  /** CPU seconds so far of the queue and of who does its jobs, without the processes of the jobs. */
  cpu(): number
  /** With all that it started. */
  close(): Promise<void>
}>

/** A server that the benchmark would start is not there: it does without. */
export class NotInstalled extends Error {
  override readonly name = 'NotInstalled'

  constructor(program: string, debianPackage: string) {
    super(`${program} is not installed (Debian: apt install ${debianPackage})`)
  }
}

/** As clients of the service are: so many wait for an answer at a time. */
export const submittedAtOnce = 8

/** How many jobs run at a time, each on a GPU of its own. */
export const gpus = [0, 1] as const
