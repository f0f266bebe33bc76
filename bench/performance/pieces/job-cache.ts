/** Reads a job from the database each time. */
import type * as product from '../../../src/infra/fast/job-cache.ts'

export const createJobCache: typeof product.createJobCache = () => ({
  find: (_jobId, read) => read(),
  clear() {},
  forget() {},
})
