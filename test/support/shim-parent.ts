/** Stands for a service that gets killed: starts a shim, and stays as long as it does. */
import { spawn } from 'node:child_process'

const [shimPath, dir] = process.argv.slice(2)
if (!shimPath || !dir) throw new Error('usage: shim-parent.ts SHIM DIR')

spawn('python3', ['-I', '-S', shimPath, dir], { detached: true, stdio: 'ignore' })
