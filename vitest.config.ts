import { defineConfig } from 'vitest/config'

/** Tests that start processes, browsers or the whole service. */
const process = 'test/**/*.process.test.ts'
/** Short form of the crash matrix of `npm run chaos`. */
const chaos = 'test/**/*.chaos.test.ts'

export default defineConfig({
  test: {
    setupFiles: ['test/support/properties.ts'],
    // Tests of the whole service start real processes: generous limits here, conditions in the tests.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 10_000 } },
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: [process, chaos],
          // No fast test changes what others share. Loading every module once saves a third of the time.
          isolate: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'process',
          include: [process, chaos],
          // Node strips the types of what a thread imports with WebAssembly. Node 24.21 crashes now and then when V8 compiles
          // a wrapper of it again while another such thread ends. The service itself runs from JavaScript.
          execArgv: ['--wasm-wrapper-tiering-budget=1000000000'],
          globalSetup: ['bench/built.ts', 'test/support/store/shared-postgres.ts'],
        },
      },
    ],
  },
})
