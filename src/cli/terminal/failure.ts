/** Why a command did not do what it was asked to, for people and for scripts. */

/** What `wanctl` ends with; docs/cli.md says the same. */
export const exitCodes = {
  ok: 0,
  /** The job failed, the service said no, or something is not as it has to be. */
  failed: 1,
  /** The command line makes no sense. */
  usage: 2,
  /** No service answers, or it cannot just now. */
  unreachable: 3,
  /** No token, one that is not known, or one that does not allow this. */
  unauthorized: 4,
  notFound: 5,
  /** A file on this machine cannot be read or written, or is there already. */
  file: 6,
  interrupted: 130,
  terminated: 143,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** Its message is for whoever typed the command. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}
