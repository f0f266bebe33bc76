/** Load by wrk, a process of its own: what it counts is not slowed by what it counts. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Latencies in milliseconds. */
export type Load = Readonly<{ perSecond: number; p50: number; p99: number; requests: number }>

export type LoadOptions = Readonly<{
  url: string
  connections: number
  seconds: number
  /** Sends this instead of a GET; `%d` becomes the number of the request. */
  body?: object
  token?: string
}>

/** Throws if a single request was answered by anything but a success. */
export async function load({ url, connections, seconds, body }: LoadOptions): Promise<Load> {
  const directory = mkdtempSync(join(tmpdir(), 'wan-load-'))
  const script = join(directory, 'load.lua')
  writeFileSync(script, lua(body))
  try {
    const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url]
    const { stdout } = await run('wrk', args)
    const said = JSON.parse(stdout.slice(stdout.lastIndexOf('\n{') + 1)) as Load & Errors
    const { failed, broken, ...figures } = said
    if (failed + broken > 0)
      throw new Error(`${url}: ${failed} refused, ${broken} broken: ${stdout}`)
    return figures
  } finally {
    rmSync(directory, { recursive: true })
  }
}

type Errors = Readonly<{ failed: number; broken: number }>

/** wrk's own report rounds; this one does not. */
const lua = (body: object | undefined): string => `
${
  body
    ? `
local n = 0
local text = ${JSON.stringify(JSON.stringify(body))}
request = function()
  n = n + 1
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, (text:gsub("%%d", n)))
end`
    : ''
}
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"perSecond":%f,"p50":%f,"p99":%f,"requests":%d,"failed":%d,"broken":%d}\\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.requests, e.status, e.connect + e.read + e.write + e.timeout))
end
`

export const canLoad = (): boolean => spawnSync('wrk', ['-v']).error === undefined
