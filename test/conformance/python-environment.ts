/** The virtual environment in which Wan2.2 runs: built once, and again when its pins change. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { $ } from 'zx'
import { type PipOptions, pipInstall, UnavailableError } from './pip.ts'
import { cacheDir, here } from './settings.ts'

const requirements = (name: string): string => join(here, 'requirements', name)
const torchPin = requirements('torch.txt')
const packagePins = requirements('packages.txt')

/** Gives the path of its Python. */
export async function ensurePython(): Promise<string> {
  const environment = join(cacheDir, 'venv')
  const python = join(environment, 'bin', 'python')
  const stamp = join(environment, 'pins')
  const base = await findPython()
  const pins = fingerprintOfPins(base)
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === pins) {
    console.log(`as built before: ${environment}`)
    return python
  }

  console.log(`pip installs 1.3 GB into ${environment}`)
  rmSync(environment, { recursive: true, force: true })
  mkdirSync(cacheDir, { recursive: true })
  const { exitCode } = await $({ quiet: true, nothrow: true })`python3 -m venv ${environment}`
  if (exitCode !== 0) {
    throw new UnavailableError(
      'python3 -m venv fails. On Debian, install the package python3-venv.',
    )
  }
  const pip = { python, log: join(cacheDir, 'pip.log') }
  await installTorch(pip)
  await pipInstall(pip, ['--no-deps', '--require-hashes', '--only-binary=:all:', '-r', packagePins])
  writeFileSync(stamp, pins)
  return python
}

/** Those that the packages have wheels for. */
const versions = ['3.11', '3.12', '3.13']

async function findPython(): Promise<string> {
  const tell = 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable, sys.version)'
  const { stdout } = await $({ quiet: true })`python3 -c ${tell}`
  const [version = ''] = stdout.split(' ')
  if (versions.includes(version)) return stdout
  throw new UnavailableError(
    `python3 is version ${version}. The pinned packages need one of ${versions.join(', ')}.`,
  )
}

/** A build for CUDA does as well, with the libraries of NVIDIA that it is linked to. */
async function installTorch(pip: PipOptions): Promise<void> {
  await pipInstall(pip, ['--no-deps', '-r', torchPin])
  const tell = 'import importlib.metadata as m; print("nvidia" in " ".join(m.requires("torch")))'
  const { stdout } = await $({ quiet: true })`${pip.python} -c ${tell}`
  if (stdout.trim() === 'False') return
  console.log('pip finds PyTorch for CUDA only, and installs several GB more that it needs')
  await pipInstall(pip, ['-r', torchPin])
}

/** An environment also depends on the Python that has made it. */
function fingerprintOfPins(base: string): string {
  const hash = createHash('sha256').update(base)
  for (const path of [torchPin, packagePins]) hash.update(readFileSync(path))
  return hash.digest('hex')
}
