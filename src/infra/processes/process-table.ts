/** What /proc says about processes. A pid alone names a process only until it is used again. */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay, setImmediate } from 'node:timers/promises'
import { isExhausted } from '../../domain/failures.ts'

/** With the time of its start, in ticks since the boot, a pid names one process until the next boot. */
export type ProcessIdentity = Readonly<{ pid: number; start: number }>

/** How many processes are read before others get their turn. */
const maxAtOnce = 64

export async function pidsWhere(matches: (pid: number) => boolean): Promise<number[]> {
  const found: number[] = []
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  for (const [n, pid] of pids.map(Number).entries()) {
    if (n % maxAtOnce === maxAtOnce - 1) await setImmediate()
    if (matches(pid)) found.push(pid)
  }
  return found
}

/** Start of a process that is alive. A zombie is dead, unless only its first thread has ended. */
export function startOf(pid: number): number | undefined {
  const [state, ...fields] = statOf(pid)
  const threads = Number(fields[16])
  const isDead = state === 'X' || (state === 'Z' && threads <= 1)
  return state === undefined || isDead ? undefined : Number(fields[18])
}

/** The pid of the process that began its session. */
export function sessionOf(pid: number): number | undefined {
  const session = statOf(pid)[3]
  return session === undefined ? undefined : Number(session)
}

export const isAlive = ({ pid, start }: ProcessIdentity): boolean => startOf(pid) === start

/** Empty for processes that have ended, and for those of other users. */
export const environmentOf = (pid: number): string[] => readOf(pid, 'environ').split('\0')

export const argumentsOf = (pid: number): string[] =>
  readOf(pid, 'cmdline').split('\0').filter(Boolean)

/** A limit by its name there: soft, hard and unit. */
export function limitOf(pid: number, name: string): string[] {
  const lines = readOf(pid, 'limits').split('\n')
  const line = lines.find((line) => line.startsWith(name)) ?? ''
  return line.slice(name.length).trim().split(/\s+/)
}

/** Sends SIGKILL. */
export function killPid(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has just ended, or belongs to another user.
  }
}

/** Kills this process, until it has ended, and no later one with its pid. Resolves when it has. */
export async function killAndWait(process: ProcessIdentity): Promise<void> {
  for (let ms = 5; killIfAlive(process); ms = Math.min(ms * 2, 1_000)) {
    await delay(ms, undefined, { ref: false })
  }
}

function killIfAlive(process: ProcessIdentity): boolean {
  try {
    if (!isAlive(process)) return false
    killPid(process.pid)
  } catch {
    // Its state cannot be read now.
  }
  return true
}

/** From the third field on. The second is a name that may hold spaces and parentheses itself. */
function statOf(pid: number): string[] {
  const stat = readOf(pid, 'stat')
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** Empty for a process that has ended, or is of another user. */
function readOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch (error) {
    // This service has no descriptor or memory left, which says nothing about the process.
    if (isExhausted(error)) throw error
    return ''
  }
}
