import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Check } from '../../domain/check.ts'
import type { WanSetup } from '../generation/command.ts'
import { findCheckpointFaults, howToDownload } from './checkpoint.ts'
import type { Looks } from './standing-checks.ts'
import { checkTool } from './tool-check.ts'

/** What a generation and a conversion need, and what to do where it is not there. */
export const installationLooks = (wan: WanSetup): Looks => ({
  'generate.py': () =>
    isThere('generate.py', join(wan.wanDir, 'generate.py'), 'Set WAN_DIR to a checkout of Wan2.2.'),
  checkpoint: () => checkpoint(wan),
  python: checkTool(
    'python',
    [wan.python, '-I', '-S', '-c', 'pass'],
    'Set WAN_PYTHON to a Python 3.',
  ),
  ffmpeg: checkTool('ffmpeg', ['ffmpeg', '-version'], installFfmpeg),
  ffprobe: checkTool('ffprobe', ['ffprobe', '-version'], installFfmpeg),
})

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

const installFfmpeg = 'Install ffmpeg.'
