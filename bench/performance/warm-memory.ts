/** Host memory of generations that run at the same time, with a template and without. */
import { readdirSync, readFileSync } from 'node:fs'
import { aDirectory, removeDirectory } from '../service.ts'
import { send } from './client.ts'
import { type Report, times } from './figures.ts'
import { submitAll } from './jobs.ts'
import { allSample, launchWith, shortVideo } from './warm-service.ts'

const weightsMb = 1000
const most = 4

/** Weights that are written, as converted ones are; those that are mapped from a file cost nothing in either way. */
const simulated = {
  FAST_LOAD: 'off',
  SIM_WEIGHTS_MB: String(weightsMb),
  SIM_STEP: '1000',
  GPU_IDS: Array.from({ length: most }, (_, gpu) => gpu).join(','),
}

export async function warmMemory(say: (line: string) => void): Promise<Report> {
  const rows = []
  for (const start of ['on', 'off'] as const) {
    const [none = 0, one = 0, all = 0] = await measure(start)
    say(`WARM_START=${start}: ${mb(none)}, ${mb(one)} and ${mb(all)}`)
    rows.push([`\`WARM_START=${start}\``, mb(none), mb(one), mb(all), times(all / one)])
  }
  return {
    how: `${weightsMb} MB of weights that no file backs; anonymous memory of template, shims and generations, each page divided by the number of processes that share it (\`Pss_Anon\` of \`smaps_rollup\`)`,
    tables: [
      {
        head: [
          'private memory',
          'no job',
          'one generation',
          `${most} generations`,
          `${most} ÷ one`,
        ],
        rows,
      },
    ],
  }
}

/** With no generation, with one, and with all. */
async function measure(start: 'on' | 'off'): Promise<number[]> {
  const directory = aDirectory()
  const { service, url } = await launchWith(start, directory, simulated)
  const found = [privateBytes(directory)]
  for (const count of [1, most - 1]) {
    const bodies = Array.from({ length: count }, (_, n) => ({ ...shortVideo, prompt: `job ${n}` }))
    await allSample(url, await submitAll(url, bodies))
    found.push(privateBytes(directory))
  }
  await send(`${url}/jobs?status=running`, 'DELETE')
  await service.stop()
  removeDirectory(directory)
  return found
}

/** Counts the Python processes of a service: all have its directory in their command lines. */
function privateBytes(directory: string): number {
  let kib = 0
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory)) continue
      const sizes = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
      kib += Number(/^Pss_Anon:\s+(\d+)/m.exec(sizes)?.[1])
    } catch {
      // It has ended.
    }
  }
  return kib * 1024
}

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`
