/** Load by wrk, a process of its own: what it counts is not slowed by what it counts. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Latencies in milliseconds; bytes of all answers together, with their headers. */
export type Load = Readonly<{
  perSecond: number
  p50: number
  p99: number
  requests: number
  bytes: number
}>

export type LoadOptions = Readonly<{
  url: string
  connections: number
  seconds: number
  headers?: Readonly<Record<string, string>>
  /** Sends this instead of a GET; `%d` becomes the number of the request. */
  body?: object
}>

/** Throws if a single request was answered by anything but a success. */
export async function load({ url, connections, seconds, headers = {}, body }: LoadOptions) {
  const directory = mkdtempSync(join(tmpdir(), 'wan-load-'))
  const script = join(directory, 'load.lua')
  writeFileSync(script, lua(body))
  try {
    const fields = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
    const amount = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s']
    const { stdout } = await run('wrk', [...amount, ...fields, '-s', script, url])
    const said = JSON.parse(stdout.slice(stdout.lastIndexOf('\n{') + 1)) as Load & Faults
    const { refused, broken, ...figures } = said
    if (refused + broken > 0) throw new Error(`${url}: ${refused} refused, ${broken} broken`)
    return figures satisfies Load
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error
    throw new Error('wrk is not installed: apt-get install wrk', { cause: error })
  } finally {
    rmSync(directory, { recursive: true })
  }
}

type Faults = Readonly<{ refused: number; broken: number }>

const lua = (body: object | undefined): string => `${body ? posts(body) : ''}
-- Its own report rounds.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"perSecond":%f,"p50":%f,"p99":%f,"requests":%d,"bytes":%.0f,"refused":%d,"broken":%d}\\n',
    summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.requests, summary.bytes, e.status, e.connect + e.read + e.write + e.timeout))
end
`

const posts = (body: object): string => `
local n = 0
local text = ${JSON.stringify(JSON.stringify(body))}
request = function()
  n = n + 1
  local headers = { ["Content-Type"] = "application/json" }
  return wrk.format("POST", nil, headers, (text:gsub("%%d", n)))
end
`
