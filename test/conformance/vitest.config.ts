import { defineConfig } from 'vitest/config'
import { here } from './settings.ts'

/** Run by `main.ts`, and not by `npm test`: it needs a Python with PyTorch. */
export default defineConfig({
  test: {
    root: here,
    globalSetup: '../../bench/built.ts',
    include: ['*.conformance.ts'],
    reporters: ['verbose'],
    // A generation takes ten seconds on an idle machine. On one that is not, only the sum of all is limited, by CI.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // Each file has two generations under way.
    fileParallelism: false,
    disableConsoleIntercept: true,
  },
})
