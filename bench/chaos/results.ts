/** What a row leaves on disk. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** What one attempt's generation wrote about itself. Times are milliseconds since 1970. */
export type Run = Readonly<{
  jobId: string
  /** `{job}/{epoch}` */
  attempt: string
  gpu: string
  start: number
  /** Everything was done, though the process had yet to end. */
  end?: number
}>

export type ResultFile = Readonly<{
  name: string
  /** By what is written into the file itself. */
  jobId?: string
  frames?: number
  fault?: string
}>

const unfinished = '.unfinished.'
const atOnce = 2

/** Decodes every finished video: a header can look well above a picture that is not. */
export async function readResults(dataDir: string): Promise<ResultFile[]> {
  const directory = join(dataDir, 'results')
  const names = readdirSync(directory).filter((name) => !name.startsWith(unfinished))
  const files: ResultFile[] = []
  const worker = async () => {
    for (let name = names.pop(); name; name = names.pop()) files.push(await probe(directory, name))
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return files
}

/** What nobody will ever use again, and nobody removes. */
export function leftFiles(dataDir: string): string[] {
  const results = readdirSync(join(dataDir, 'results'))
  return [
    ...results.filter((name) => name.startsWith(unfinished)).map((name) => join('results', name)),
    ...readdirSync(join(dataDir, 'work')).map((name) => join('work', name)),
  ]
}

/** How an attempt ended, where that is on disk. */
export function exitOf(dataDir: string, attempt: string): { code: number | null } | undefined {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'work', attempt, 'exit.json'), 'utf8'))
  } catch {
    return undefined
  }
}

export function readRuns(dataDir: string): Run[] {
  const path = join(dataDir, 'journal')
  if (!existsSync(path)) return []
  const runs = new Map<string, Run>()
  for (const line of readFileSync(path, 'utf8').split('\n').filter(Boolean)) {
    const { event, pid, gpu, save_file, at } = JSON.parse(line) as {
      event: 'start' | 'end'
      pid: number
      gpu: string
      save_file: string
      at: number
    }
    const [, jobId, epoch] = /\/work\/([^/]+)\/(\d+)\//.exec(save_file) ?? []
    if (!jobId || !epoch) throw new Error(`the journal speaks of ${save_file}`)
    const key = `${pid} ${save_file}`
    const run = runs.get(key)
    if (event === 'start') {
      runs.set(key, { jobId, attempt: `${jobId}/${epoch}`, gpu, start: at * 1000 })
    } else if (run) runs.set(key, { ...run, end: at * 1000 })
  }
  return [...runs.values()]
}

async function probe(directory: string, name: string): Promise<ResultFile> {
  const what = 'stream=nb_read_frames:format_tags=comment'
  const args = ['-v', 'error', '-select_streams', 'v:0', '-count_frames', '-show_entries', what]
  try {
    const { stdout, stderr } = await promisify(execFile)('ffprobe', [
      ...args,
      ...['-of', 'json', join(directory, name)],
    ])
    const { streams, format } = JSON.parse(stdout) as {
      streams: { nb_read_frames?: string }[]
      format: { tags?: { comment?: string } }
    }
    const jobId = /job (\S+)/.exec(format.tags?.comment ?? '')?.[1]
    const fault = stderr.trim()
    return {
      name,
      frames: Number(streams[0]?.nb_read_frames ?? 0),
      ...(jobId && { jobId }),
      ...(fault && { fault }),
    }
  } catch (error) {
    return { name, fault: error instanceof Error ? error.message : String(error) }
  }
}
