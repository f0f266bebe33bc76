/** The only place that runs nvidia-smi, which may be missing, fail, or hang for ever on a sick GPU. */
import { runTool, ToolError } from '../processes/tool.ts'

export type NvidiaGpu = Readonly<{ index: number; uuid: string; name: string }>

export type NvidiaSmiAnswer = Readonly<
  { ok: true; gpus: readonly NvidiaGpu[] } | { ok: false; why: string }
>

/** The GPUs that `nvidia-smi -L` lists. Never rejects: no answer in time, or none at all, is an answer. */
export async function listGpus({
  timeoutMs = 10_000,
}: {
  timeoutMs?: number
} = {}): Promise<NvidiaSmiAnswer> {
  const answer = await run(['-L'], timeoutMs)
  return answer.ok ? { ok: true, gpus: parseList(answer.stdout) } : answer
}

export type NvidiaReading = Readonly<{
  index: number
  uuid: string
  memoryUsedMiB: number
  memoryTotalMiB: number
  utilizationPercent: number
  temperatureC: number
}>

/** What the GPUs' own instruments say; empty when nvidia-smi does not. */
export async function measureGpus(timeoutMs = 5_000): Promise<readonly NvidiaReading[]> {
  const fields = 'index,uuid,memory.used,memory.total,utilization.gpu,temperature.gpu'
  const answer = await run([`--query-gpu=${fields}`, '--format=csv,noheader,nounits'], timeoutMs)
  return answer.ok ? answer.stdout.trim().split('\n').flatMap(parseReading) : []
}

/** A line like `0, GPU-…, 1024, 24564, 7, 41`; a GPU that cannot say all of it says nothing. */
function parseReading(line: string): NvidiaReading[] {
  const [index = '', uuid = '', ...values] = line.split(',').map((value) => value.trim())
  const [used, total, utilization, temperature] = values.map(Number)
  const reading = {
    index: Number(index),
    uuid,
    memoryUsedMiB: used ?? Number.NaN,
    memoryTotalMiB: total ?? Number.NaN,
    utilizationPercent: utilization ?? Number.NaN,
    temperatureC: temperature ?? Number.NaN,
  }
  return Object.values(reading).some(Number.isNaN) ? [] : [reading]
}

export type DriverAnswer = Readonly<
  { ok: true; version: string; memoryMiB: readonly number[] } | { ok: false; why: string }
>

/** The driver's version, and how much memory each GPU has. */
export async function readDriver(timeoutMs = 10_000): Promise<DriverAnswer> {
  const answer = await run(
    ['--query-gpu=driver_version,memory.total', '--format=csv,noheader,nounits'],
    timeoutMs,
  )
  if (!answer.ok) return answer
  const rows = answer.stdout
    .trim()
    .split('\n')
    .map((line) => line.split(',').map((value) => value.trim()))
  const memoryMiB = rows.map(([, memory]) => Number(memory)).filter(Number.isFinite)
  const version = rows[0]?.[0] ?? ''
  return version && memoryMiB.length > 0
    ? { ok: true, version, memoryMiB }
    : { ok: false, why: 'nvidia-smi lists no GPU' }
}

type Output = Readonly<{ ok: true; stdout: string } | { ok: false; why: string }>

async function run(args: readonly string[], timeoutMs: number): Promise<Output> {
  try {
    const argv = ['nvidia-smi', ...args] as const
    return { ok: true, stdout: await runTool(argv, { timeoutMs, afterKill: 'leave' }) }
  } catch (error) {
    return { ok: false, why: whyOf(error, timeoutMs) }
  }
}

function whyOf(error: unknown, timeoutMs: number): string {
  if (!(error instanceof ToolError)) return `nvidia-smi could not be run: ${firstLine(`${error}`)}`
  const { end } = error
  if (!end) return `nvidia-smi did not answer within ${timeoutMs / 1000} s`
  if (end.how === 'cannotStart') return error.message
  const ending = end.signal === null ? `with exit code ${end.code}` : `by ${end.signal}`
  // What it has to say about a failure it says on stdout.
  const said = firstLine(`${end.stdout}\n${end.stderr}`)
  return `nvidia-smi was ended ${ending}${said && `: ${said}`}`
}

/** Lines like `GPU 0: NVIDIA H100 (UUID: GPU-…)`; the indented ones below them are MIG slices. */
const parseList = (list: string): NvidiaGpu[] =>
  [...list.matchAll(/^GPU (\d+): (.*) \(UUID: ([^)]+)\)\s*$/gm)].map(
    ([, index = '', name = '', uuid = '']) => ({ index: Number(index), name, uuid }),
  )

const firstLine = (text: string): string => text.trim().split('\n', 1)[0]?.trim() ?? ''
