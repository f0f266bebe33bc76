/** Stands for another service: takes the lock of a directory, says so, and stays until it is killed. */
import { setImmediate } from 'node:timers/promises'
import { lockDirectory } from '../../../src/infra/disk/lock.ts'

const [directory] = process.argv.slice(2)
if (!directory || !globalThis.gc) {
  throw new Error('usage: node --expose-gc lock-holder.ts DIRECTORY')
}

lockDirectory(directory)
// Nobody refers to the lock any longer: it must be held all the same.
await setImmediate()
globalThis.gc()
await setImmediate()
process.stdout.write('locked\n')
setInterval(() => {}, 60_000)
