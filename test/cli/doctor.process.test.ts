import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { root } from '../../src/config/root.ts'
import { simulateCheckpoint } from '../../src/infra/installation/simulation.ts'
import { wanctl } from '../support/cli.ts'
import { aDataDirectory, startService } from '../support/service.ts'
import { isFollower } from '../support/store/shared-postgres.ts'

type Report = { ok: boolean; checks: { name: string; verdict: string; detail: string }[] }

/** A machine that has everything, as files in a directory of the test's own. */
let machine: string
let env: NodeJS.ProcessEnv
beforeEach(() => {
  machine = aDataDirectory()
  for (const directory of ['bin', 'python', 'Wan2.2']) mkdirSync(at(directory))
  for (const tool of ['ffmpeg', 'ffprobe']) program(tool, 'echo "$0 version 5.1"')
  program(
    'nvidia-smi',
    `case $1 in
      -L) echo 'GPU 0: NVIDIA H100 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)' ;;
      *) echo '550.54.15, 81559' ;;
    esac`,
  )
  for (const [name, version] of Object.entries(packages)) pythonPackage(name, version)
  torchOfTheSimulator()
  writeFileSync(at('Wan2.2/generate.py'), '')
  env = {
    PATH: `${at('bin')}:${process.env.PATH}`,
    PYTHONPATH: at('python'),
    WAN_DIR: at('Wan2.2'),
    WAN_CKPT_DIR: simulateCheckpoint(at('checkpoint')),
    DATA_DIR: at('data'),
    MAX_CONCURRENT_LOADS: '1',
    PORT: '0',
  }
})

const packages: Readonly<Record<string, string>> = {
  ...{ torch: '2.8.0+cu128', torchvision: '0.23.0', torchaudio: '2.8.0', numpy: '1.26.4' },
  ...{ cv2: '4.11.0', PIL: '11.3.0', diffusers: '0.33.1', transformers: '4.51.3' },
  ...{ tokenizers: '0.21.1', accelerate: '1.10.1', peft: '0.17.1', einops: '0.8.1' },
  ...{ easydict: '1.13', ftfy: '6.3.1', regex: '2024.11.6', dashscope: '1.24.6' },
  ...{ imageio: '2.37.0', imageio_ffmpeg: '0.6.0', decord: '0.6.0', librosa: '0.11.0' },
  ...{ scipy: '1.15.3', tqdm: '4.67.1', flash_attn: '2.8.3' },
}

const at = (path: string) => join(machine, path)

function program(name: string, script: string): void {
  rmSync(at(`bin/${name}`), { force: true })
  writeFileSync(at(`bin/${name}`), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
}

/** Installed as pip would; whoever imports it is told off. */
function pythonPackage(name: string, version: string): void {
  mkdirSync(at(`python/${name}`), { recursive: true })
  writeFileSync(at(`python/${name}/__init__.py`), `raise SystemExit('${name} was imported')`)
  const info = at(`python/${name}-${version}.dist-info`)
  mkdirSync(info)
  writeFileSync(
    join(info, 'METADATA'),
    `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
  )
  writeFileSync(join(info, 'top_level.txt'), `${name}\n`)
}

/** One that can be imported, and has a GPU. */
const torchOfTheSimulator = (): void =>
  copyFileSync(join(root, 'sim', 'torch.py'), at('python/torch/__init__.py'))

function withoutPackage(name: string): void {
  rmSync(at(`python/${name}`), { recursive: true })
  rmSync(at(`python/${name}-${packages[name]}.dist-info`), { recursive: true })
}

function otherVersion(name: string, version: string): void {
  withoutPackage(name)
  pythonPackage(name, version)
}

async function examine(): Promise<{ code: number | null; report: Report }> {
  const { code, stdout } = await wanctl(['doctor', '--json'], { env })
  return { code, report: JSON.parse(stdout) as Report }
}

const named = ({ checks }: Report, verdict: string) =>
  checks.filter((check) => check.verdict === verdict)

describe('wanctl doctor', () => {
  it('finds no fault with a machine that has everything', async () => {
    const { code, report } = await examine()
    expect(named(report, 'fault')).toEqual([])
    expect([code, report.ok]).toEqual([0, true])
    expect(report.checks.map(({ name }) => name)).toEqual([
      ...['settings', 'gpu', 'driver', 'python', 'packages', 'generate.py', 'checkpoint'],
      ...['ffmpeg', 'ffprobe', 'disk', 'memory', 'port', 'template', 'probe'],
    ])
    const text = await wanctl(['doctor'], { env })
    expect(text.stdout).toMatch(/^ok +gpu: 0 \(NVIDIA H100\)$/m)
    expect(text.stdout).toContain('Jobs can be run here.')
  })

  it.each<[fault: string, check: string, says: string, plant: () => void]>([
    ['settings that make no sense', 'settings', 'PORT must be', () => (env.PORT = 'web')],
    ['no driver', 'driver', 'Install the NVIDIA driver', () => program('nvidia-smi', 'exit 127')],
    ['no GPU', 'gpu', 'nvidia-smi lists none', () => program('nvidia-smi', 'exit 0')],
    [
      'a driver that fails',
      'driver',
      'ended with exit code 9',
      () => program('nvidia-smi', 'exit 9'),
    ],
    ['no Python', 'python', 'Set WAN_PYTHON', () => (env.WAN_PYTHON = at('bin/nothing'))],
    ['an old Python', 'python', '3.10 or newer', oldPython],
    ['a package missing', 'packages', 'pip install decord', () => withoutPackage('decord')],
    ['no flash-attn', 'packages', 'WAN_SDPA=1', () => withoutPackage('flash_attn')],
    ['torch without CUDA', 'packages', 'without CUDA', () => otherVersion('torch', '2.8.0+cpu')],
    ['no generate.py', 'generate.py', 'Set WAN_DIR', () => rmSync(at('Wan2.2/generate.py'))],
    [
      'no checkpoint',
      'checkpoint',
      'hf download',
      () => rmSync(at('checkpoint'), { recursive: true }),
    ],
    [
      'a pointer of git-lfs',
      'checkpoint',
      'Wan2.2_VAE.pth is a pointer of git-lfs',
      () => {
        const pointer =
          'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2818839170\n'
        writeFileSync(at('checkpoint/Wan2.2_VAE.pth'), pointer)
      },
    ],
    [
      'half a file',
      'checkpoint',
      'models_t5_umt5-xxl-enc-bf16.pth has 5000000000 bytes instead of 11361920418',
      () => truncateSync(at('checkpoint/models_t5_umt5-xxl-enc-bf16.pth'), 5_000_000_000),
    ],
    ['no ffmpeg', 'ffmpeg', 'Install ffmpeg', () => program('ffmpeg', 'exit 1')],
    ['no ffprobe', 'ffprobe', 'Install ffmpeg', () => program('ffprobe', 'exit 1')],
    ['a full disk', 'disk', 'Make room', () => (env.MIN_FREE_DISK_MB = '1000000000')],
    ['a file in the way of the data', 'disk', 'DATA_DIR', () => (env.DATA_DIR = at('bin/ffmpeg'))],
  ])('names %s', async (_, check, says, plant) => {
    plant()
    const { code, report } = await examine()
    expect([code, report.ok]).toEqual([1, false])
    expect(named(report, 'fault')).toContainEqual({
      name: check,
      verdict: 'fault',
      detail: expect.stringContaining(says),
    })
  })

  it.each<[what: string, check: string, says: string, plant: () => void]>([
    ['a small GPU', 'driver', '--t5_cpu', () => program('nvidia-smi', smallGpu)],
    ['a numpy that is too new', 'packages', 'numpy is 2.1.0', () => otherVersion('numpy', '2.1.0')],
    [
      'a transformers that is too new',
      'packages',
      'transformers is 4.52.0; Wan2.2 asks for at least 4.49 and below 4.51.4.',
      () => otherVersion('transformers', '4.52.0'),
    ],
    ['little memory', 'memory', 'MAX_CONCURRENT_LOADS', () => (env.MAX_CONCURRENT_LOADS = '900')],
  ])('warns of %s, which may do all the same', async (_, check, says, plant) => {
    plant()
    const { code, report } = await examine()
    expect([code, report.ok]).toEqual([0, true])
    expect(named(report, 'warning')).toContainEqual({
      name: check,
      verdict: 'warning',
      detail: expect.stringContaining(says),
    })
  })

  it('needs no flash-attn where PyTorch stands in for it, and takes its successor', async () => {
    withoutPackage('flash_attn')
    env.WAN_SDPA = '1'
    expect((await examine()).report.ok).toBe(true)
    env.WAN_SDPA = '0'
    pythonPackage('flash_attn_interface', '3.0.0')
    expect((await examine()).report.ok).toBe(true)
  })

  it('tells its own service from another program at the port', async () => {
    const other = createServer((_, response) => response.end('{}'))
    onTestFinished(() => void other.close())
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    env.PORT = String((other.address() as AddressInfo).port)
    const port = async () => (await examine()).report.checks.find(({ name }) => name === 'port')
    expect(await port()).toMatchObject({
      verdict: 'fault',
      detail: expect.stringContaining('PORT'),
    })

    const service = await startService()
    env.PORT = new URL(service.url).port
    expect(await port()).toMatchObject({ verdict: 'ok' })
  })

  it('names the PostgreSQL server that does not respond, without its password', async () => {
    env.DATABASE_URL = 'postgres://wan:secret@127.0.0.1:9/jobs'
    env.NODE_URL = 'http://127.0.0.1:8080'
    const { stdout, code } = await wanctl(['doctor', '--json'], { env })
    expect(code).toBe(1)
    expect((JSON.parse(stdout) as Report).checks).toContainEqual({
      name: 'database',
      verdict: 'fault',
      detail: expect.stringMatching(/^PostgreSQL at 127\.0\.0\.1:9, database jobs: .*ECONNREFUSED/),
    })
    expect(stdout).not.toContain('secret')
  })

  it('asks the simulator for nothing that it does without', async () => {
    env.WAN_DIR = join(root, 'sim')
    rmSync(at('python'), { recursive: true })
    const { code, report } = await examine()
    expect(code).toBe(0)
    expect(named(report, 'skipped').map(({ name }) => name)).toEqual([
      ...['gpu', 'driver', 'packages', 'memory', 'template', 'probe'],
    ])
  })

  describe('has a fork use an idle GPU', () => {
    const probe = async () =>
      (await examine()).report.checks.find(({ name }) => name === 'probe') ?? expect.fail()

    it('and says which, and how long CUDA took to start', async () => {
      expect(await probe()).toMatchObject({
        verdict: 'ok',
        detail: expect.stringMatching(
          /^a fork of PyTorch has used GPU 0; CUDA started in \d\.\d s$/,
        ),
      })
    })

    it('and warns with the reason when it cannot', async () => {
      env.SIM_FORK_FAULT = 'cuda'
      expect(await probe()).toEqual({
        name: 'probe',
        verdict: 'warning',
        detail: expect.stringMatching(
          /^a fork cannot use GPU 0: RuntimeError: Cannot re-initialize CUDA/,
        ),
      })
    })

    it('and warns when the import of PyTorch has used the GPU already', async () => {
      const path = at('python/torch/__init__.py')
      appendFileSync(path, '\ncuda.init()\n')
      expect(await probe()).toMatchObject({
        verdict: 'warning',
        detail: expect.stringContaining('touched CUDA'),
      })
    })

    it.each<[reason: string, says: string, plant: () => void]>([
      ['there is no driver', 'no GPU answers', () => program('nvidia-smi', 'exit 127')],
      ['there is no GPU', 'nvidia-smi lists none', () => program('nvidia-smi', 'exit 0')],
      ['there is no PyTorch', 'ModuleNotFoundError', () => withoutPackage('torch')],
      [
        'another program uses it',
        'another program uses each GPU',
        () => program('nvidia-smi', gpuInUse),
      ],
    ])('unless %s', async (_, says, plant) => {
      if (says === 'no GPU answers') env.GPU_IDS = '0'
      plant()
      expect(await probe()).toEqual({
        name: 'probe',
        verdict: 'skipped',
        detail: expect.stringMatching(new RegExp(`^could not be run: .*${says}`)),
      })
    })

    it('which is one without a job while the service runs, and needs a token to know', async () => {
      const token = `token-of-ops-${crypto.randomUUID()}`
      const own = { GPU_IDS: '0', API_TOKENS: `ops:${token}:admin` }
      const service = await startService({ env: own })
      env.PORT = new URL(service.url).port
      expect((await probe()).detail).toContain('Set WAN_TOKEN')
      env.WAN_TOKEN = token
      expect(await probe()).toMatchObject({ verdict: 'ok' })
      const ops = service.as(token)
      const id = await ops.submit({ prompt: 'a fox [sim:hang-step]' })
      await ops.until(id, ({ stage }) => stage === 'denoising')
      expect(await probe()).toMatchObject({
        verdict: 'skipped',
        detail: expect.stringContaining('each GPU has a job'),
      })
    })
  })

  it('says how the template of the running service is, and what to do where there is none', async () => {
    const template = async () =>
      (await examine()).report.checks.find(({ name }) => name === 'template') ?? expect.fail()
    env.WARM_START = 'on'
    expect(await template()).toMatchObject({
      verdict: 'skipped',
      detail: expect.stringContaining('no service runs'),
    })
    const service = await startService({ env: { WARM_START: 'on', SIM_FORK_FAULT: 'cuda' } })
    env.PORT = new URL(service.url).port
    await vi.waitFor(
      async () =>
        expect(await template()).toEqual({
          name: 'template',
          verdict: 'ok',
          detail: isFollower
            ? 'ti2v-5B on leader is off (this node has no GPU); ti2v-5B on local is ready, 0 jobs started'
            : 'ti2v-5B is ready, 0 jobs started',
        }),
      { timeout: 30_000 },
    )
    await service.until(await service.submit({ prompt: 'a fox' }))
    expect(await template()).toMatchObject({
      verdict: 'warning',
      detail: expect.stringMatching(
        /ti2v-5B( on local)? is off \(.*Cannot re-initialize CUDA.*wanctl reload/,
      ),
    })
  })
})

const smallGpu = `case $1 in
  -L) echo 'GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)' ;;
  *) echo '550.54.15, 24564' ;;
esac`

const gpuInUse = `case $* in
  -L) echo 'GPU 0: NVIDIA H100 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)' ;;
  *memory.used*) echo '0, GPU-8932f937-d72c-4106-c12f-20bd9faed9f6, 40960, 81559, 90, 60' ;;
  *) echo '550.54.15, 81559' ;;
esac`

function oldPython(): void {
  program('python3.8', `echo '{"python": "3.8.10", "packages": {}}'`)
  env.WAN_PYTHON = at('bin/python3.8')
}
