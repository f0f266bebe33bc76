/** What Node is told of itself. */
import { flushCompileCache } from 'node:module'
import { setFlagsFromString } from 'node:v8'

/** To be called when everything is loaded. */
export function settleRuntime(): void {
  // By itself Node writes it at an orderly end only; nothing, where NODE_COMPILE_CACHE is not set.
  flushCompileCache()
  // A hundred readers that open a stream of events together teach V8 that requests live long. From then
  // on it would put every poll among what is old, and each would take a third more. Not on the command
  // line: Node throws away what is compiled in it when it finds other flags, and starts 50 ms later.
  setFlagsFromString('--no-allocation-site-pretenuring')
  // V8 lets garbage grow to twice what is alive, or more, before it collects: under the attack of
  // `npm run bench -- hostile` 350 MB, and 260 MB with half as much. The CPU time is the same.
  setFlagsFromString('--heap-growing-percent=50')
}
