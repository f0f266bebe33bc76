#!/usr/bin/env node
// Any Node can read this file, so that one that is too old is told so in a sentence.
import { existsSync } from 'node:fs'

const oldest = 24
const major = Number(process.versions.node.split('.')[0])

if (major < oldest) {
  console.error(
    `wanctl needs Node ${oldest} or newer, and this is Node ${process.versions.node} (${process.execPath}).`,
  )
  process.exitCode = 1
} else {
  // A checkout runs as it is; a package holds what was built of it, as Node wants it there.
  const source = new URL('../src/cli/main.ts', import.meta.url)
  const built = new URL('../dist/cli.js', import.meta.url)
  const { main } = await import((existsSync(source) ? source : built).href)
  await main(process.argv)
}
