/** Finds an answer for each request. */
import type * as product from '../../../src/http/fast/share.ts'

export const sharing: typeof product.sharing = () => (_question, find) => find()
