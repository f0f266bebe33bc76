/** Whether a machine has what the service and Wan2.2 need; the model itself is never loaded. */
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import * as v from 'valibot'
import { bytesPerLoad, type Config, memoryBytes, readConfig } from '../../config/config.ts'
import type { Check } from '../../domain/check.ts'
import { minFreeFiles, shortageOf } from '../../domain/disk.ts'
import { messageOf } from '../../domain/errors.ts'
import { freeSpace } from '../disk/free-space.ts'
import { detectGpus } from '../machine/gpus.ts'
import { readDriver } from '../machine/nvidia-smi.ts'
import { runTool } from '../processes/tool.ts'
import { inspectServer } from '../store/postgres/inspect-server.ts'
import { inspectSchema } from '../store/postgres/migrate-postgres.ts'
import { describeUrl } from '../store/postgres/pool.ts'
import { explainRefusal } from '../store/postgres/refusals.ts'
import { findOpenJobs, whyUnmoved } from '../store/postgres/unmoved-jobs.ts'
import { UnusableDatabaseError } from '../store/unusable-database.ts'
import { type Finding, finding } from './finding.ts'
import { installationLooks } from './installation.ts'
import { checkNodes } from './nodes-check.ts'
import { isOurs } from './own-service.ts'
import { checkSharing } from './sharing-check.ts'
import { simulatorDir } from './simulation.ts'
import { checkWarmStart } from './warm-start-check.ts'

/** Everything that is looked at, in the order in which it is best put right. */
export async function diagnose(env: NodeJS.ProcessEnv): Promise<readonly Finding[]> {
  const config = configOf(env)
  if (config instanceof Error) return [finding('settings', 'fault', config.message)]
  const simulated = config.wan.wanDir === simulatorDir
  // Its packages are checked too, below.
  const { python: _, ...looks } = installationLooks(config.wan)
  const findings = await Promise.all([
    finding('settings', 'ok', 'can be read'),
    ...(simulated ? ['gpu', 'driver', 'packages'].map(notForSimulator) : checkReality(config)),
    ...Object.values(looks).map((look) => look().then(findingOf)),
    ...(config.databaseUrl === undefined ? [] : [checkPostgres(config.databaseUrl, config)]),
    checkDisks(config),
    checkSharing(config),
    checkMemory(config, simulated),
    checkPort(config),
    checkNodes(config, env),
    checkWarmStart({ config, env, simulated }),
  ])
  return findings.flat()
}

function configOf(env: NodeJS.ProcessEnv): Config | Error {
  try {
    return readConfig(env)
  } catch (error) {
    return error as Error
  }
}

const findingOf = ({ name, ok, detail }: Check): Finding =>
  finding(name, ok ? 'ok' : 'fault', detail)

const notForSimulator = (name: string): Finding =>
  finding(name, 'skipped', 'the simulator does without')

const checkReality = (config: Config) => [checkGpus(config), checkDriver(), checkPackages(config)]

async function checkGpus(config: Config): Promise<Finding> {
  try {
    const gpus = await detectGpus(config)
    const names = gpus.map(({ id, name }) => (name === undefined ? `${id}` : `${id} (${name})`))
    return finding('gpu', 'ok', names.join(', '))
  } catch (error) {
    return finding('gpu', 'fault', (error as Error).message)
  }
}

async function checkPostgres(url: string, { data: { stateDb } }: Config): Promise<Finding> {
  try {
    const { version } = await inspectServer(url)
    const databases = { url, stateDb }
    const why = whyUnmoved(databases, await findOpenJobs(databases), await inspectSchema(url))
    if (why !== undefined) return finding('database', 'fault', why)
    return finding('database', 'ok', `${describeUrl(url)}, version ${version}`)
  } catch (error) {
    if (error instanceof UnusableDatabaseError) return finding('database', 'fault', error.message)
    const why = explainRefusal(error, url) ?? `${describeUrl(url)}: ${messageOf(error)}`
    return finding('database', 'fault', why)
  }
}

const installDriver = 'Install the NVIDIA driver; in a container, start it with --gpus all.'

/** Below this a GPU needs the three options that save memory (facts: §4.5). */
const roomyMiB = 40 * 1024
const savers = '["--offload_model","True","--convert_model_dtype","--t5_cpu"]'

async function checkDriver(): Promise<Finding> {
  const answer = await readDriver()
  if (!answer.ok) return finding('driver', 'fault', `${answer.why}. ${installDriver}`)
  const { version, memoryMiB } = answer
  const smallest = Math.min(...memoryMiB)
  const told = `${version}; the smallest GPU has ${smallest} MiB`
  return smallest < roomyMiB
    ? finding('driver', 'warning', `${told}. ti2v-5B needs WAN_EXTRA_ARGS='${savers}' there.`)
    : finding('driver', 'ok', told)
}

/** What `import wan` needs for every task, whether or not Wan2.2's requirements.txt has it (facts: §8). */
const modules = [
  ...['torch', 'torchvision', 'torchaudio', 'numpy', 'cv2', 'PIL', 'diffusers', 'transformers'],
  ...['tokenizers', 'accelerate', 'peft', 'einops', 'easydict', 'ftfy', 'regex', 'dashscope'],
  ...['imageio', 'imageio_ffmpeg', 'decord', 'librosa', 'scipy', 'tqdm'],
]
/** Either does. */
const flashAttention = ['flash_attn', 'flash_attn_interface']

/** Where Wan2.2 says that others do not do. */
const bounds: readonly Readonly<{ module: string; from?: string; below?: string }>[] = [
  { module: 'torch', from: '2.4' },
  { module: 'numpy', below: '2' },
  { module: 'transformers', from: '4.49', below: '4.51.4' },
]

const oldestPython = '3.10'

const Packages = v.object({
  python: v.string(),
  packages: v.record(v.string(), v.nullable(v.string())),
})

async function checkPackages({ wan: { python, sdpa } }: Config): Promise<Finding[]> {
  const script = join(import.meta.dirname, 'packages.py')
  const wanted = [...modules, ...flashAttention]
  try {
    const said = await runTool([python, script, ...wanted], { timeoutMs: 30_000 })
    const found = v.parse(Packages, JSON.parse(said))
    if (isBelow(found.python, oldestPython)) {
      const detail = `is ${found.python}, and Wan2.2 needs ${oldestPython} or newer. Set WAN_PYTHON.`
      return [finding('python', 'fault', `${python} ${detail}`)]
    }
    return [
      finding('python', 'ok', `${python}, ${found.python}`),
      ...packageFindings(found.packages, { python, sdpa }),
    ]
  } catch (error) {
    const hint = 'Set WAN_PYTHON to the Python that Wan2.2 is installed for.'
    return [finding('python', 'fault', `${(error as Error).message}. ${hint}`)]
  }
}

type Versions = Readonly<Record<string, string | null>>

function packageFindings(
  found: Versions,
  { python, sdpa }: Readonly<{ python: string; sdpa: boolean }>,
): Finding[] {
  const missing = modules.filter((module) => found[module] === null)
  const findings: Finding[] = []
  if (missing.length > 0) {
    const list = missing.map((module) => distributions[module] ?? module).join(' ')
    const detail = `missing: ${missing.join(', ')}. Run: ${python} -m pip install ${list}`
    findings.push(finding('packages', 'fault', detail))
  }
  if (!sdpa && flashAttention.every((module) => found[module] === null)) {
    const detail = `missing: flash_attn. Run: MAX_JOBS=1 ${python} -m pip install flash_attn --no-build-isolation, or set WAN_SDPA=1.`
    findings.push(finding('packages', 'fault', detail))
  }
  if (found.torch?.includes('+cpu')) {
    const detail = `torch ${found.torch} is built without CUDA. Install one that is built with it.`
    findings.push(finding('packages', 'fault', detail))
  }
  for (const { module, from, below } of bounds) {
    const version = found[module]
    if (!version) continue
    const limits = [from && `at least ${from}`, below && `below ${below}`].filter(Boolean)
    if ((from && isBelow(version, from)) || (below && !isBelow(version, below))) {
      const detail = `${module} is ${version}; Wan2.2 asks for ${limits.join(' and ')}.`
      findings.push(finding('packages', 'warning', detail))
    }
  }
  return findings.length > 0 ? findings : [finding('packages', 'ok', 'all are there')]
}

/** Where a package has another name than what is imported of it. */
const distributions: Readonly<Record<string, string>> = {
  cv2: 'opencv-python-headless',
  PIL: 'pillow',
  imageio_ffmpeg: 'imageio-ffmpeg',
}

/** By the numbers alone: "2.8.0+cu128" is 2.8.0. */
function isBelow(version: string, limit: string): boolean {
  const [numbers, limits] = [version, limit].map((text) => (text.match(/\d+/g) ?? []).map(Number))
  for (const [index, number] of (limits ?? []).entries()) {
    const own = numbers?.[index] ?? 0
    if (own !== number) return own < number
  }
  return false
}

async function checkDisks({ data, minFreeBytes }: Config): Promise<Finding[]> {
  const { workDir, resultsDir, logsDir, stateDb } = data
  const wanted = [workDir, resultsDir, logsDir, dirname(stateDb)]
  // What is not there yet will be made where this is.
  const directories = new Set(await Promise.all(wanted.map(nearestExisting)))
  const findings = await Promise.all([...directories].map((path) => checkDisk(path, minFreeBytes)))
  const faults = findings.filter(({ verdict }) => verdict !== 'ok')
  return faults.length > 0 ? faults : findings.slice(0, 1)
}

async function checkDisk(directory: string, minFreeBytes: number): Promise<Finding> {
  try {
    if (!(await stat(directory)).isDirectory()) throw new Error('it is no directory')
    await access(directory, constants.W_OK)
  } catch (error) {
    const why = (error as Error).message
    const detail = `${directory} cannot be written into: ${why}. Give it to the user the service runs as, or set DATA_DIR.`
    return finding('disk', 'fault', detail)
  }
  const free = await freeSpace(directory)
  const told = `${mebibytes(free.freeBytes)} MiB are free in ${directory}`
  switch (shortageOf(free, minFreeBytes)) {
    case undefined:
      return finding('disk', 'ok', told)
    case 'bytes': {
      const detail = `${told}, and MIN_FREE_DISK_MB is ${mebibytes(minFreeBytes)}. Make room.`
      return finding('disk', 'fault', detail)
    }
    case 'files': {
      const { freeFiles, files = 0 } = free
      const detail = `${directory} has ${freeFiles} free inodes, and the service needs ${minFreeFiles(files)} of its ${files}. Delete files there.`
      return finding('disk', 'fault', detail)
    }
  }
}

const mebibytes = (bytes: number): number => Math.floor(bytes / 1024 ** 2)

async function nearestExisting(directory: string): Promise<string> {
  const isThere = await access(directory).then(
    () => true,
    () => false,
  )
  return isThere || dirname(directory) === directory
    ? directory
    : nearestExisting(dirname(directory))
}

function checkMemory({ maxConcurrentLoads, wan }: Config, simulated: boolean): Finding {
  if (simulated) return notForSimulator('memory')
  const total = memoryBytes()
  const each = bytesPerLoad(wan)
  const needed = maxConcurrentLoads * each
  const told = `${gibibytes(total)} GiB, and ${maxConcurrentLoads} at once may load, with ${gibibytes(each)} GiB each`
  if (needed <= total) return finding('memory', 'ok', told)
  const hint = maxConcurrentLoads > 1 ? 'Lower MAX_CONCURRENT_LOADS.' : 'Add memory or swap.'
  return finding('memory', 'warning', `${told}. ${hint}`)
}

const gibibytes = (bytes: number): number => Math.floor(bytes / 1024 ** 3)

async function checkPort({ host, port }: Config): Promise<Finding> {
  const error = await listenOnce(host, port)
  if (!error) return finding('port', 'ok', `${host}:${port} is free`)
  if (error.code !== 'EADDRINUSE') {
    const detail = `${host}:${port} cannot be listened on: ${error.message}. Set HOST or PORT.`
    return finding('port', 'fault', detail)
  }
  return (await isOurs({ host, port }))
    ? finding('port', 'ok', `a wan-supervisor listens on ${host}:${port}`)
    : finding(
        'port',
        'fault',
        `another program listens on ${host}:${port}. Set PORT to another one.`,
      )
}

function listenOnce(host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })
}
