import { join } from 'node:path'
import { defineConfig } from 'vite'

/** One page, one script, one style: `dist/dashboard` is all that there is of it. */
export default defineConfig({
  root: import.meta.dirname,
  // Relative: behind a proxy the page may lie under a prefix.
  base: './',
  publicDir: false,
  build: {
    outDir: join(import.meta.dirname, '..', '..', 'dist', 'dashboard'),
    emptyOutDir: true,
    target: ['chrome123', 'firefox120', 'safari17.5'],
    modulePreload: false,
    // The policy of the page has pictures from files as well as from addresses.
    assetsInlineLimit: 0,
  },
})
