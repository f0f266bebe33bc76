/** Leaves V8 and the compile cache as they are. */
import type * as product from '../../../src/infra/fast/runtime.ts'

export const settleRuntime: typeof product.settleRuntime = () => {}
