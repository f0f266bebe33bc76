/** What each kind of failure means for the job: one table, so that the rule is read in one place. */
import type { FailureCode } from './job.ts'

/**
 * A failure is tried again when another try may well end differently. What the same arguments on
 * the same machine will do again is not: it would cost minutes of a GPU to learn nothing.
 */
const retryable: Record<FailureCode, boolean> = {
  generation_failed: true,
  invalid_arguments: false,
  checkpoint_missing: true,
  environment_broken: true,
  resources_exhausted: true,
  out_of_memory: true,
  gpu_error: true,
  killed: true,
  lost: true,
  node_lost: true,
  unkillable: false,
  timeout: false,
  no_output: false,
  truncated_output: true,
  unexpected_output: false,
  conversion_failed: false,
  disk_full: true,
}

/** What speaks against the GPU rather than the job, if it happens to one job after the other. */
const gpuFaults: readonly FailureCode[] = ['out_of_memory', 'gpu_error', 'killed']

export const blamesGpu = (code: FailureCode): boolean => gpuFaults.includes(code)

/**
 * Failures that would hit every job: the machine, its disks or the installation are at fault. They
 * cost the job no attempt, and the queue waits until the fault has passed.
 */
const environmentFaults: readonly FailureCode[] = [
  'checkpoint_missing',
  'environment_broken',
  'resources_exhausted',
  'disk_full',
]

export const blamesEnvironment = (code: FailureCode): boolean => environmentFaults.includes(code)

/** Whether it is one of MAX_ATTEMPTS. A machine that is lost says nothing about the job either. */
export const costsAttempt = (code: FailureCode): boolean =>
  !blamesEnvironment(code) && code !== 'node_lost'

export const isRetryable = (code: FailureCode): boolean => retryable[code]

/** The fault of the environment that a text names, in the words of the system, Python, Node or ffmpeg. */
export function environmentFaultIn(text: string): FailureCode | undefined {
  if (saysDiskFull(text)) return 'disk_full'
  if (saysExhausted(text)) return 'resources_exhausted'
  return saysUnreachable(text) ? 'environment_broken' : undefined
}

/**
 * Of an error of Node or of a tool. ffmpeg also says `Input/output error` of a file that is damaged,
 * so of its words only those count that cannot mean the file.
 */
export function environmentFaultOf(error: unknown): FailureCode | undefined {
  const bySystem = systemFaultOf(error)
  if (bySystem) return bySystem
  const { message } = (error ?? {}) as { message?: unknown }
  const text = String(message ?? error)
  if (saysDiskFull(text)) return 'disk_full'
  return saysExhausted(text) ? 'resources_exhausted' : undefined
}

/** By the code of the system call alone. */
export function systemFaultOf(error: unknown): FailureCode | undefined {
  const { code } = (error ?? {}) as { code?: unknown }
  return typeof code === 'string' ? environmentFaultIn(code) : undefined
}

/** The system could not carry out a call now, which says nothing about what the call was for. */
export const isExhausted = (error: unknown): boolean =>
  environmentFaultOf(error) === 'resources_exhausted'

// Codes as they are written, sentences in upper or lower case.

export const saysDiskFull = (text: string): boolean =>
  /\b(?:ENOSPC|EDQUOT|Errno (?:28|122))\b/.test(text) ||
  /no space left on device|disk quota exceeded/i.test(text)

/** Processes, threads, memory of the host or descriptors have run out. Not the memory of a GPU. */
export const saysExhausted = (text: string): boolean =>
  /\b(?:EAGAIN|ENOMEM|EMFILE|ENFILE|Errno (?:11|12|23|24)|MemoryError)\b/.test(text) ||
  /std::bad_alloc|can't start new thread|DefaultCPUAllocator: (?:can't|not enough)/.test(text) ||
  /resource temporarily unavailable|cannot allocate memory|too many open files/i.test(text)

/** A file system that fails, is unmounted or read-only, or a connection between our own processes. */
const saysUnreachable = (text: string): boolean =>
  /\b(?:EIO|EROFS|ESTALE|ENOTCONN|EHOSTDOWN|EPIPE|ECONNRESET)\b/.test(text) ||
  /\bErrno (?:5|30|32|107|112|116)\b/.test(text) ||
  /input\/output error|read-only file system|stale (?:nfs )?file handle/i.test(text) ||
  /transport endpoint is not connected/i.test(text)
