/** Of a build: what the service reads beside its code goes beside what was made of that. */
import { cpSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')

for (const directory of [join('http', 'docs'), join('infra', 'generation')]) {
  cpSync(join(root, 'src', directory), join(root, 'dist', directory), {
    recursive: true,
    filter: (path) => !path.endsWith('.ts') && !path.endsWith('__pycache__'),
  })
}
