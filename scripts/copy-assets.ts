/** Of a build: what of the source is no TypeScript goes beside what was made of the rest. */
import { cpSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')

cpSync(join(root, 'src'), join(root, 'dist'), {
  recursive: true,
  filter: (path) => !path.endsWith('.ts') && !path.endsWith('__pycache__'),
})
