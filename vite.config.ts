/** What runs of `src/` in production: Node starts in half the time from a few files than from 700. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { defineConfig, type Plugin } from 'vite'

const source = join(import.meta.dirname, 'src')

export default defineConfig({
  publicDir: false,
  // Both are found by their files: a binary, and pages.
  ssr: { noExternal: true, external: ['better-sqlite3', 'swagger-ui-dist'] },
  build: {
    ssr: true,
    outDir: 'dist',
    // The dashboard is there too, and perhaps a service that runs.
    emptyOutDir: false,
    target: 'node24',
    minify: false,
    license: { fileName: 'licenses.md' },
    rolldownOptions: {
      input: {
        main: join(source, 'main.ts'),
        cli: join(source, 'cli', 'main.ts'),
        'typed-client': join(source, 'http', 'typed-client.ts'),
        // Threads: found by their files, beside the code that starts them.
        'database-worker': join(source, 'infra', 'store', 'sqlite', 'thread', 'database-worker.ts'),
        'backup-worker': join(source, 'infra', 'store', 'sqlite', 'thread', 'backup-worker.ts'),
      },
      // All in one directory: what is read beside the code is beside each of them.
      output: { chunkFileNames: '[name].js' },
    },
  },
  plugins: [besideTheCode()],
})

/** Python imports scripts beside one another by their names, and packages by those of their folders. */
function placeOf(path: string): string {
  const folder = dirname(path)
  const isInPackage = existsSync(join(folder, '__init__.py'))
  return isInPackage ? relative(dirname(folder), path) : basename(path)
}

/** What the service reads beside its code: the scripts it starts, and a page. */
function besideTheCode(): Plugin {
  const scripts = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.py'))
    .map((path) => join(source, path))
  const page = join(source, 'http', 'openapi', 'docs')
  return {
    name: 'beside-the-code',
    generateBundle() {
      for (const path of scripts) {
        this.emitFile({ type: 'asset', fileName: placeOf(path), source: readFileSync(path) })
      }
      for (const name of readdirSync(page)) {
        const fileName = join('docs', name)
        this.emitFile({ type: 'asset', fileName, source: readFileSync(join(page, name)) })
      }
    },
  }
}
