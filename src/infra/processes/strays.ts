/** Processes of an attempt that its shim did not end, because it was killed or cannot be reached. */
import { createHash } from 'node:crypto'
import { readlinkSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import * as v from 'valibot'
import { type AttemptKey, JobId } from '../../domain/job.ts'
import { createOutsiders } from './outsiders.ts'
import {
  argumentsOf,
  environmentOf,
  killPid,
  limitOf,
  type ProcessIdentity,
  pidsWhere,
  startOf,
} from './process-table.ts'

export type Strays = Readonly<{
  /** Number of processes that were found, without the shim. */
  found: number
  /** Number of processes that have survived SIGKILL. */
  survivors: number
}>

/** How long killed processes may take to end. */
const usualWithinMs = 5_000

/** Kills every process of an attempt, except its shim. */
export const killStrays = (attempt: AttemptKey, withinMs?: number): Promise<Strays> =>
  killAll([attempt], ['stray'], withinMs)

/** Kills the shim of an attempt, wherever its directory is. */
export const killShim = (attempt: AttemptKey): Promise<Strays> => killAll([attempt], ['shim'])

/** Kills every process of attempts. */
export const killAttempts = (attempts: readonly AttemptKey[]): Promise<Strays> =>
  killAll(attempts, ['shim', 'stray'])

/** Those of these attempts, all killed before, of which a process is left. */
export async function survivorsOf<Attempt extends AttemptKey>(
  attempts: readonly Attempt[],
): Promise<Attempt[]> {
  const left: Attempt[] = []
  for (const attempt of new Map(attempts.map((one) => [nameOf(one), one])).values()) {
    const { survivors } = await killAll([attempt], ['shim', 'stray'], 0)
    if (survivors > 0) left.push(attempt)
  }
  return left
}

/** Attempts whose shims run in a directory of attempts, whether or not their own still exists. */
export async function attemptsIn(workDir: string): Promise<AttemptKey[]> {
  const attempts: AttemptKey[] = []
  await pidsWhere((pid) => {
    const directory = directoryOfShim(pid)
    const attempt = directory && attemptOf(directory)
    if (attempt && isSameDirectory(pid, dirname(dirname(directory)), workDir)) {
      attempts.push(attempt)
    }
    return false
  })
  return attempts
}

const nameOf = ({ jobId, epoch }: AttemptKey): string => `${jobId}/${epoch}`

/** In the environment of each process of an attempt that keeps the environment it was started with. */
export const attemptCookie = (attempt: AttemptKey) => ({ WAN_ATTEMPT: nameOf(attempt) })

const cookie = 'WAN_ATTEMPT='

/**
 * Limit of each process of an attempt, which the shim sets (`RLIMIT_LOCKS`, without effect since
 * Linux 2.4.25). A process with a new session, parent and environment has it still.
 */
export const attemptMark = (attempt: AttemptKey): number =>
  createHash('sha256').update(nameOf(attempt)).digest().readUIntBE(0, 6)

export const isShimOf = (pid: number, attempt: AttemptKey): boolean =>
  directoryOfShim(pid)?.endsWith(`/${nameOf(attempt)}`) ?? false

/** A command line that is too long for `ps` is cut off; then its current directory tells. */
function directoryOfShim(pid: number, command = argumentsOf(pid)): string | undefined {
  const [script, directory] = command.slice(-2)
  if (script && basename(script) === 'shim.py' && directory && attemptOf(directory)) {
    return directory
  }
  if (!command.some((argument) => basename(argument) === 'shim.py')) return undefined
  try {
    return readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '')
  } catch {
    return undefined
  }
}

function attemptOf(directory: string): AttemptKey | undefined {
  const jobId = v.safeParse(JobId, basename(dirname(directory)))
  const epoch = Number(basename(directory))
  return jobId.success && Number.isSafeInteger(epoch) ? { jobId: jobId.output, epoch } : undefined
}

/** Another container may have another directory of the same name. */
function isSameDirectory(pid: number, theirs: string, ours: string): boolean {
  try {
    const [a, b] = [statSync(`/proc/${pid}/root${theirs}`), statSync(ours)]
    return a.dev === b.dev && a.ino === b.ino
  } catch {
    return false
  }
}

type Role = 'shim' | 'stray'

/** Those of the machine that no search has to look at again: three files of each are read otherwise. */
const outsiders = createOutsiders()

/** Kills until two searches in a row find nothing: a process may fork behind the back of one. */
async function killAll(
  attempts: readonly AttemptKey[],
  roles: readonly Role[],
  withinMs = usualWithinMs,
): Promise<Strays> {
  const roleOf = recognize(attempts)
  const found = new Set<number>()
  const until = performance.now() + withinMs
  for (let clean = 0; clean < 2; ) {
    const pids = await pidsWhere((pid) => {
      const start = startOf(pid)
      if (start === undefined || outsiders.have({ pid, start })) return false
      const role = roleOf({ pid, start })
      if (!role || !roles.includes(role)) return false
      if (role === 'stray') found.add(pid)
      return true
    })
    for (const pid of pids) killPid(pid)
    clean = pids.length === 0 ? clean + 1 : 0
    if (pids.length === 0) continue
    if (performance.now() >= until) return { found: found.size, survivors: pids.length }
    await delay(20)
  }
  return { found: found.size, survivors: 0 }
}

function recognize(
  attempts: readonly AttemptKey[],
): (process: ProcessIdentity) => Role | undefined {
  const marks = new Set(attempts.map((attempt) => String(attemptMark(attempt))))
  const cookies = new Set(attempts.map((attempt) => `${cookie}${nameOf(attempt)}`))
  const names = new Set(attempts.map(nameOf))

  return (process) => {
    const { pid } = process
    const limits = limitOf(pid, 'Max file locks')
    if (limits.some((limit) => marks.has(limit))) return 'stray'
    const command = argumentsOf(pid)
    const directory = directoryOfShim(pid, command)
    if (directory && names.has(directory.split('/').slice(-2).join('/'))) return 'shim'
    const environment = environmentOf(pid)
    if (environment.some((variable) => cookies.has(variable))) return 'stray'
    if (isOutside(limits, command, environment)) outsiders.add(process)
    else outsiders.remove(process)
    return undefined
  }
}

/** Belongs to no attempt, and is not about to: between its fork and its mark a process has the command of its parent. */
const isOutside = (
  limits: readonly string[],
  command: readonly string[],
  environment: readonly string[],
): boolean =>
  limits.slice(0, 2).every((limit) => limit === 'unlimited') &&
  !command.some((argument) => ownScripts.has(basename(argument))) &&
  !environment.some((variable) => variable.startsWith(cookie))

/** Processes of these scripts fork shims and generations. */
const ownScripts = new Set(['fork_server.py', 'template.py', 'shim.py'])
