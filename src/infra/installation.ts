import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Check } from '../actors/ports.ts'
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

async function check({ wanDir, ckptDir }: WanSetup): Promise<Check[]> {
  return Promise.all([
    isThere('generate.py', join(wanDir, 'generate.py'), 'Set WAN_DIR to a checkout of Wan2.2.'),
    isThere('checkpoint', ckptDir, 'Set WAN_CKPT_DIR to the directory of the model’s weights.'),
    runs('ffmpeg'),
    runs('ffprobe'),
  ])
}

const isThere = (name: string, path: string, hint: string): Promise<Check> =>
  access(path).then(
    () => ({ name, ok: true, detail: path }),
    () => ({ name, ok: false, detail: `${path} is not there. ${hint}` }),
  )

const runs = (tool: string): Promise<Check> =>
  runTool(tool, ['-version'], { timeoutMs: 5_000 }).then(
    (output) => ({ name: tool, ok: true, detail: output.split('\n', 1)[0] ?? '' }),
    (error: Error) => ({ name: tool, ok: false, detail: `${error.message}. Install ffmpeg.` }),
  )
