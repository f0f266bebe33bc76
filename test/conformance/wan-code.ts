/** Where the code of Wan2.2 comes from, and whether it is the original. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { $ } from 'zx'
import { here } from './settings.ts'

export type WanCode = Readonly<{
  /** Holds `generate.py`. */
  wanDir: string
  /** Holds `wan/`. */
  codeDir: string
  isCheckout: boolean
}>

/** A checkout in `WAN_DIR`, or else the package, which has no `generate.py`. */
export async function findWanCode(python: string): Promise<WanCode> {
  const { WAN_DIR } = process.env
  if (WAN_DIR && isCheckout(WAN_DIR)) {
    return { wanDir: WAN_DIR, codeDir: WAN_DIR, isCheckout: true }
  }
  const { stdout } = await $({
    quiet: true,
  })`${python} -c ${'import sysconfig; print(sysconfig.get_path("purelib"))'}`
  return { wanDir: join(here, 'script'), codeDir: stdout.trim(), isCheckout: false }
}

/** The simulator has a `generate.py` and a `wan` too, but no configurations. */
export const isCheckout = (directory: string): boolean =>
  ['generate.py', join('wan', 'configs', 'wan_ti2v_5B.py')].every((path) =>
    existsSync(join(directory, path)),
  )

/** The package must be the original. A checkout may be of another day; what differs is named. */
export async function describeChanges({ codeDir, isCheckout }: WanCode): Promise<string> {
  const recorded = await recordedFiles()
  const changed: string[] = []
  for (const { path, sha256 } of recorded) {
    const content = await readFile(join(codeDir, path)).catch(() => '')
    if (createHash('sha256').update(content).digest('hex') !== sha256) changed.push(path)
  }
  if (changed.length === 0) return `${recorded.length} files equal those of Wan2.2 at 42bf4cf`
  const difference = `not as in Wan2.2 at 42bf4cf: ${changed.join(', ')}`
  if (!isCheckout) throw new Error(`the package wan22 is ${difference}`)
  return difference
}

/** Those that the package has as they were published; sha256sum reads this file too. */
async function recordedFiles(): Promise<{ path: string; sha256: string }[]> {
  const text = await readFile(join(here, 'wan-2.2.sha256'), 'utf8')
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [sha256 = '', path = ''] = line.split('  ')
      return { path, sha256 }
    })
}
