/** The service as users run it: built, for it starts in a third of the time that its sources take. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const cache = join(root, 'node_modules', '.cache')

/** Not `dist`: a test of the package builds that anew while others run. */
const built = join(cache, 'tested')

/** The program of the service. */
export const main = join(built, 'main.js')

/** What Node compiled is kept, as `npm start` keeps it. */
export const compiled = { NODE_COMPILE_CACHE: join(cache, 'compiled') } as const

/** Builds the sources as they are. Vitest calls this once before the tests that start processes. */
export default function build(): void {
  const options = ['--logLevel', 'error', '--outDir', built]
  execFileSync('npm', ['run', '--silent', 'bundle', '--', ...options], { cwd: root })
}
