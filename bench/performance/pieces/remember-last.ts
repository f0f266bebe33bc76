/** Makes the text of a job and the rights of a client for each request. */
import type * as product from '../../../src/http/fast/remember.ts'

export { rememberPaths } from '../../../src/http/fast/remember.ts'

export const rememberLast: typeof product.rememberLast = (make) => make
