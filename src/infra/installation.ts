import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Check } from '../actors/ports.ts'
import { findCheckpointFaults, howToDownload } from './checkpoint.ts'
import type { WanSetup } from './generation/command.ts'
import { runTool } from './tool.ts'

/** How long a verdict is good for: the tools of a machine do not come and go. */
const goodForMs = 30_000

let latest: { at: number; checks: Promise<readonly Check[]> } | undefined

/** Whether what a generation and a conversion need is there, each with what to do if not. */
export function checkInstallation(wan: WanSetup): Promise<readonly Check[]> {
  if (!latest || performance.now() - latest.at > goodForMs) {
    latest = { at: performance.now(), checks: check(wan) }
  }
  return latest.checks
}

async function check(wan: WanSetup): Promise<Check[]> {
  return Promise.all([
    isThere('generate.py', join(wan.wanDir, 'generate.py'), 'Set WAN_DIR to a checkout of Wan2.2.'),
    checkpoint(wan),
    runs('ffmpeg'),
    runs('ffprobe'),
  ])
}

const isThere = (name: string, path: string, hint: string): Promise<Check> =>
  access(path).then(
    () => ({ name, ok: true, detail: path }),
    () => ({ name, ok: false, detail: `${path} is not there. ${hint}` }),
  )

async function checkpoint(wan: WanSetup): Promise<Check> {
  const faults = await findCheckpointFaults(wan)
  if (faults.length === 0) return { name: 'checkpoint', ok: true, detail: wan.ckptDir }
  const named = faults.map(({ path, problem }) => `${path} ${problem}.`)
  const detail = [...named, howToDownload(wan)].join(' ')
  return { name: 'checkpoint', ok: false, detail }
}

const runs = (tool: string): Promise<Check> =>
  runTool(tool, ['-version'], { timeoutMs: 5_000 }).then(
    (output) => ({ name: tool, ok: true, detail: output.split('\n', 1)[0] ?? '' }),
    (error: Error) => ({ name: tool, ok: false, detail: `${error.message}. Install ffmpeg.` }),
  )
