/** Another machine with the name of a node that is at work. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { killEverythingOf } from '../processes.ts'
import { environment } from '../service.ts'
import type { ChaosNode } from './nodes.ts'

export function startTwin({ env, devices, version }: ChaosNode, dataDir: string) {
  mkdirSync(dataDir, { recursive: true })
  const child = spawn(process.execPath, [version.main], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...environment(dataDir, devices.length), ...env },
  })
  const ended = once(child, 'exit')
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return {
    /** It ended by itself and said why, or still waits. */
    isRefused: () => child.exitCode === null || stderr.includes('cannot start'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await ended
      killEverythingOf(dataDir)
    },
  }
}
