/** Tools that a fork server started, or was starting, when it ended. Their pids are not known. */
import { basename } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { argumentsOf, environmentOf, killPid, pidsWhere, sessionOf } from './process-table.ts'

/** Environment variable by which a tool and its descendants are found. */
export const toolMark = (mark: string) => ({ WAN_TOOL: mark })

/** Pauses between searches: short at first, long for a process that survives SIGKILL. */
const firstPauseMs = 5
const maxPauseMs = 1_000

/**
 * Kills all processes of a tool whose fork server has ended. Resolves when two searches in a row find none: a process
 * may fork during one of them.
 */
export async function killUnreported(mark: string, forkServer: number): Promise<void> {
  let pauseMs = firstPauseMs
  for (let clean = 0; clean < 2; ) {
    const pids = await search(mark, forkServer)
    for (const pid of pids ?? []) killPid(pid)
    clean = pids?.length === 0 ? clean + 1 : 0
    if (clean > 0) continue
    await delay(pauseMs, undefined, { ref: false })
    pauseMs = Math.min(pauseMs * 2, maxPauseMs)
  }
}

/** Undefined if it is not known yet which processes there are. */
async function search(mark: string, forkServer: number): Promise<number[] | undefined> {
  const variable = `WAN_TOOL=${mark}`
  let isComplete = true
  try {
    const pids = await pidsWhere((pid) => {
      if (environmentOf(pid).includes(variable)) return true
      if (isForked(pid, forkServer)) isComplete = false
      return false
    })
    return isComplete || pids.length > 0 ? pids : undefined
  } catch {
    return undefined // No descriptors or memory are left for a search.
  }
}

/** Between its fork and its call of exec, a tool has the command and the environment of the fork server. */
const isForked = (pid: number, forkServer: number): boolean =>
  sessionOf(pid) === forkServer &&
  argumentsOf(pid).some((argument) => basename(argument) === 'fork_server.py')
