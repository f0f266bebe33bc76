import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { castOf } from '../../bench/chaos/processes.ts'
import { root } from '../../src/config/root.ts'
import { simulateCheckpoint } from '../../src/infra/installation/simulation.ts'
import {
  aMachine,
  beginGpuCheck,
  failedIn,
  gpuCheck,
  gpuCheckPath,
  torchOfProbe,
  verdictsIn,
} from '../support/gpu-check.ts'
import { aDataDirectory, processesOf } from '../support/service.ts'
import { isAlive } from '../support/shim-attempt.ts'

/** A machine whose generations are those of the simulator. */
function aSimulation() {
  const machine = aMachine()
  const checkpoint = simulateCheckpoint(join(machine.directory, 'checkpoint'))
  return {
    ...machine,
    /** `on`: no test depends on the memory of the machine that it runs on. */
    args: [
      ...['--no-build', '--warm-start', 'on', '--only', 'service'],
      ...['--ckpt-dir', checkpoint, '--jobs', '1'],
    ],
  }
}

/** Each stage is long enough to be met there. */
const slowly = { SIM_LOAD: '1.2', SIM_ENCODE: '0.8', SIM_STEP: '0.1', SIM_DECODE: '0.8' }

/** Sixteen jobs, and more work for the CPUs if other tests run. */
const patienceMs = 240_000

const checks = [
  ...['weights', 'cold: the service', 'cold: the first job', 'cold: the same request again'],
  ...['cold: another seed', 'warm: the template', 'warm: the same request', 'warm: the other seed'],
  ...['cancel while loading', 'cancel while encoding', 'cancel while denoising'],
  ...['cancel while decoding', 'cancel while saving', 'warm: 1 job in a row'],
]

const probe = ['runs', 'a template does not touch CUDA', 'its forks use the GPU']
const moreOfProbe = ['a kill while computing', 'a standby with a CUDA context']
const probeChecks = [...probe, ...moreOfProbe, 'the template is as before'].map(
  (name) => `probe: ${name}`,
)

describe('the probe of scripts/gpu-check', () => {
  const args = ['--only', 'probe']

  it('passes where forks can use the GPU, and tells what a standby takes', async () => {
    const { env, temporary } = aMachine()
    const result = await gpuCheck(args, { ...env, ...torchOfProbe })
    expect(verdictsIn(result.stdout), result.stderr).toEqual(
      probeChecks.map((name) => [name, 'ok']),
    )
    expect(result.stdout).toMatch(/fork \d+ ms, context \d+\.\d+ s, first product .* GB\/s mapped/)
    expect(result.stdout).toMatch(/reaped in \d+ ms, 503 MiB back in/)
    expect(result.stdout).toContain('takes 500 MiB of the GPU')
    expect(result.code).toBe(0)
    expect(readdirSync(temporary)).toEqual([])
  })

  it.each([
    { fault: 'fork', failed: [2, 3, 4], says: 'Cannot re-initialize CUDA' },
    { fault: 'touch', failed: [1, 5], says: 'the template has touched CUDA' },
  ])('names the checks that fail: $says', async ({ fault, failed, says }) => {
    const { env } = aMachine()
    const result = await gpuCheck(args, { ...env, ...torchOfProbe, PROBE_FAULT: fault })
    expect(failedIn(result.stdout), result.stderr).toEqual(failed.map((at) => probeChecks[at]))
    expect(result.stdout).toContain(says)
    expect(result.code).toBe(1)
  })
})

describe('scripts/gpu-check', () => {
  it(
    'passes every check of the service on a simulated GPU, prints a table, and leaves nothing',
    async () => {
      const { env, args, directory, temporary } = aSimulation()
      const json = join(directory, 'figures.json')
      const result = await gpuCheck([...args, '--json', json], { ...env, ...slowly })
      expect(verdictsIn(result.stdout), result.stderr).toEqual(checks.map((name) => [name, 'ok']))
      expect(result.stdout).toContain('the video equals that of the cold start')
      expect(result.stdout).toContain(`All ${checks.length} checks passed.`)
      expect(result.code).toBe(0)
      const written = JSON.parse(readFileSync(json, 'utf8')) as { checks: { check: string }[] }
      expect(written.checks.map(({ check }) => check)).toEqual(checks)
      expect(readdirSync(temporary)).toEqual([])
      expect(processesOf(temporary).filter(isAlive)).toEqual([])
    },
    patienceMs,
  )

  it(
    'names the videos that differ from those of cold starts, and ends with status 1',
    async () => {
      const { env, args, directory } = aSimulation()
      const checkout = join(directory, 'checkout')
      cpSync(join(root, 'sim'), checkout, { recursive: true })
      const utils = join(checkout, 'wan', 'utils', 'utils.py')
      const text = readFileSync(utils, 'utf8')
      const isForked = "(os.getpid() != __import__('torch').imported_by)"
      const seed = 'height, run.args.base_seed'
      expect(text).toContain(seed)
      writeFileSync(utils, text.replace(seed, `${seed} + 20 * ${isForked}`))
      const result = await gpuCheck(args, { ...env, WAN_DIR: checkout })
      const differing = ['warm: the same request', 'warm: the other seed']
      expect(failedIn(result.stdout), result.stderr).toEqual(differing)
      expect(result.stdout).toContain('the video differs from that of the cold start')
      expect(result.code).toBe(1)
    },
    patienceMs,
  )

  it(
    'names the jobs that were not started warm where a fork cannot use the GPU, and ends with status 1',
    async () => {
      const { env, args } = aSimulation()
      const result = await gpuCheck(args, { ...env, SIM_FORK_FAULT: 'cuda' })
      const failed = ['warm: the same request', 'warm: the other seed', 'warm: 1 job in a row']
      expect(failedIn(result.stdout), result.stderr).toEqual(failed)
      expect(result.stdout).toContain('the generation was not started warm at once')
      expect(result.code).toBe(1)
    },
    patienceMs,
  )

  it(
    'names what was left out where there is no template, with the reason of the service',
    async () => {
      const { env, args } = aSimulation()
      const result = await gpuCheck(args, { ...env, SIM_TEMPLATE_FAULT: 'touch-cuda' })
      const left = checks.slice(checks.indexOf('warm: the template') + 1)
      const verdicts = verdictsIn(result.stdout)
      expect(failedIn(result.stdout), result.stderr).toEqual(['warm: the template'])
      expect(result.stdout).toContain('touched CUDA')
      expect(verdicts.slice(-left.length)).toEqual(left.map((name) => [name, 'not done']))
      expect(result.code).toBe(1)
    },
    patienceMs,
  )

  it('overwrites nothing in a directory for weights that holds something else', async () => {
    const { env, directory } = aMachine()
    const weights = join(directory, 'weights')
    mkdirSync(weights)
    writeFileSync(join(weights, 'notes.txt'), 'mine')
    const args = ['--warm-start', 'on', '--only', 'service', '--weights-dir', weights]
    const result = await gpuCheck([...args, '--jobs', '1'], env)
    const [first, ...others] = checks
    const left = others.filter((name) => name !== 'cold: the service')
    expect(failedIn(result.stdout), result.stderr).toEqual([first])
    expect(result.stdout).toContain('Remove it, or pass another --weights-dir.')
    expect(verdictsIn(result.stdout).slice(1)).toEqual(left.map((name) => [name, 'not done']))
    expect(readdirSync(weights)).toEqual(['notes.txt'])
    expect(result.code).toBe(1)
  })

  it(
    'leaves no process and no file when it is interrupted',
    async () => {
      const { env, args, temporary } = aSimulation()
      const run = beginGpuCheck(args, { ...env, SIM_STEP: '60' })
      const isComputing = () => castOf(temporary).generations.length > 0
      await vi.waitUntil(isComputing, { timeout: 60_000, interval: 50 })
      run.child.kill('SIGINT')
      const { code, stderr } = await run.ended
      expect(code, stderr).toBe(130)
      expect(readdirSync(temporary)).toEqual([])
      expect(processesOf(temporary).filter(isAlive)).toEqual([])
    },
    patienceMs,
  )

  it.each([
    {
      what: 'there is no nvidia-smi',
      args: [],
      env: { PATH: '/usr/bin:/bin' },
      says: /no GPU to check: nvidia-smi is not installed.*--gpus all/,
    },
    { what: 'there is no such GPU', args: ['--gpu', '3'], env: {}, says: /no GPU 3.*0 \(NVIDIA/ },
    {
      what: 'no checkout is named',
      args: [],
      env: { WAN_DIR: '' },
      says: /Set WAN_DIR, or pass --wan-dir/,
    },
    {
      what: 'WAN_DIR is no checkout',
      args: ['--wan-dir', '/usr'],
      env: {},
      says: /\/usr is no checkout of Wan2.2.*git clone/,
    },
    {
      what: 'Python is missing',
      args: ['--python', '/nowhere/python'],
      env: {},
      says: /\/nowhere\/python is not installed.*WAN_PYTHON/,
    },
    { what: 'an option is unknown', args: ['--fast'], env: {}, says: /--fast.*See --help/ },
    { what: 'an option is wrong', args: ['--jobs', '0'], env: {}, says: /--jobs must be a whole/ },
  ])('checks nothing and says what to do when $what', async ({ args, env, says }) => {
    const machine = aSimulation()
    const result = await gpuCheck([...machine.args, ...args], { ...machine.env, ...env })
    expect(result.stderr).toMatch(says)
    expect(result).toMatchObject({ code: 2, stdout: '' })
  })

  it.each([
    { what: 'PyTorch is missing', torch: 'raise ImportError("no torch")', says: /has no PyTorch/ },
    {
      what: 'PyTorch has no CUDA',
      torch: '__version__ = "2.8.0"\nclass cuda:\n    is_available = staticmethod(lambda: False)',
      says: /PyTorch 2.8.0 .* cannot use the GPU. It is built without CUDA. Install/,
    },
  ])('checks nothing and says what to do when $what', async ({ torch, says }) => {
    const { env, args, directory } = aSimulation()
    const checkout = join(directory, 'checkout')
    mkdirSync(join(checkout, 'wan'), { recursive: true })
    writeFileSync(join(checkout, 'generate.py'), '')
    writeFileSync(join(checkout, 'torch.py'), torch)
    const result = await gpuCheck([...args, '--wan-dir', checkout], env)
    expect(result.stderr).toMatch(says)
    expect(result).toMatchObject({ code: 2, stdout: '' })
  })

  it('says what to do where the packages of the project are not installed', async () => {
    const copy = join(aDataDirectory(), 'scripts')
    cpSync(gpuCheckPath, join(copy, 'gpu-check'))
    const child = spawn(join(copy, 'gpu-check'), [], { stdio: ['ignore', 'ignore', 'pipe'] })
    const [said] = (await once(child.stderr, 'data')) as [Buffer]
    expect(said.toString()).toMatch(/not installed. Run: make -C .* setup/)
  })
})
