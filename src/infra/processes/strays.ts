import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { AttemptKey } from '../../domain/job.ts'

/**
 * Kills every process that carries the cookie of an attempt in its environment. The shim leaves no
 * strays; this is for the attempt whose shim was itself killed. Resolves with how many would not go.
 */
export async function killStrays(attempt: AttemptKey, withinMs = 5_000): Promise<number> {
  const until = performance.now() + withinMs
  let strays = findStrays(attempt)
  while (strays.length > 0 && performance.now() < until) {
    for (const pid of strays) kill(pid)
    await delay(20)
    strays = findStrays(attempt)
  }
  return strays.length
}

/** By this in its environment a process of an attempt is known; the shim gives it to its worker. */
export const attemptCookie = ({ jobId, epoch }: AttemptKey) => ({
  WAN_ATTEMPT: `${jobId}/${epoch}`,
})

function findStrays(attempt: AttemptKey): number[] {
  const cookie = `WAN_ATTEMPT=${attemptCookie(attempt).WAN_ATTEMPT}`
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(cookie))
    .map(Number)
}

/** Empty for those that are none of ours to read, and for the dead. */
function environmentOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  } catch {
    return []
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone by itself meanwhile.
  }
}
