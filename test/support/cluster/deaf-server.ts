/** A node whose link dies: connections to it stay open and carry nothing, and others are not accepted. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'

/** `isDeaf` resolves when its link is dead: after one request. */
export async function aDeafServer() {
  const child = spawn('python3', [join(import.meta.dirname, 'deaf-server.py')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })
  const [port] = (await once(lines, 'line')) as [string]
  const isDeaf = once(lines, 'line')
  return { port: Number(port), url: `http://127.0.0.1:${port}`, isDeaf }
}
