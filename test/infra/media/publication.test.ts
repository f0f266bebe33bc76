import {
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import {
  type ResultsDirectory,
  resultsDirectory,
} from '../../../src/infra/disk/results-directory.ts'
import {
  makerAt,
  prefixOf,
  publish,
  removeUnfinished,
  withdraw,
} from '../../../src/infra/media/publication.ts'
import { jobId } from '../../support/jobs.ts'
import { aFileOf, box, movieWith } from '../../support/mp4.ts'

const filename = 'fox.mp4'
let directory: string
let path: string
let a: ResultsDirectory
let b: ResultsDirectory
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'publication-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  path = join(directory, filename)
  const nodes = ['a', 'b'].map((home) => resultsDirectory(directory, { id: 'x', home }))
  ;[a, b] = nodes as [ResultsDirectory, ResultsDirectory]
})

const output = (epoch: number, n = 1) => ({ jobId: jobId(n), epoch, filename })

/** The finished file of an attempt, which has no name yet. */
function aFinished(node: ResultsDirectory, epoch: number, n = 1): string {
  const made = join(directory, `${prefixOf(node, output(epoch, n))}${crypto.randomUUID()}.mp4`)
  writeFileSync(made, aFileOf(jobId(n), 1_000, epoch))
  return made
}

describe('a finished video', () => {
  it('gets its name, and leaves nothing else', async () => {
    const made = aFinished(a, 1)
    const content = readFileSync(made)
    await publish(a, made, output(1))
    expect(readdirSync(directory)).toEqual([filename])
    expect(readFileSync(path).equals(content)).toBe(true)
  })

  it.each([
    ['an earlier attempt', () => aFileOf(jobId(1), 10, 1)],
    ['the same attempt before a crash', () => aFileOf(jobId(1), 10, 2)],
    [
      'an earlier version of the service',
      () => Buffer.concat([box('ftyp'), movieWith(`wan-supervisor job ${jobId(1)} seed 7`)]),
    ],
  ])('replaces the video of its job by %s', async (_what, content) => {
    writeFileSync(path, content())
    await publish(b, aFinished(b, 2), output(2))
    expect(readdirSync(directory)).toEqual([filename])
    expect(await makerAt(path)).toEqual({ jobId: jobId(1), epoch: 2 })
  })

  it.each([
    ['a later attempt, as one that was recorded', () => aFileOf(jobId(1), 10, 3)],
    ['another job', () => aFileOf(jobId(2), 10, 1)],
    ['nobody', () => Buffer.from('film')],
  ])('does not replace a file by %s', async (_what, content) => {
    const there = content()
    writeFileSync(path, there)
    await expect(publish(a, aFinished(a, 2), output(2))).rejects.toThrow('not this job')
    await withdraw(a, output(2))
    expect(readdirSync(directory)).toEqual([filename])
    expect(readFileSync(path).equals(there)).toBe(true)
  })

  it('is published when a network file system reports that the name is taken, and it is by this file', async () => {
    const made = aFinished(a, 1)
    linkSync(made, path)
    await publish(a, made, output(1))
    expect(readdirSync(directory)).toEqual([filename])
    expect(await makerAt(path)).toEqual({ jobId: jobId(1), epoch: 1 })
  })

  it('is that of the later of two attempts which publish and withdraw at once, on two nodes', async () => {
    for (let n = 0; n < 100; n++) {
      const [early, late] = [aFinished(a, 1), aFinished(b, 2)]
      const published = publish(b, late, output(2))
      const other = publish(a, early, output(1)).catch(() => {})
      await Promise.all([published, other, n % 2 ? withdraw(a, output(1)) : undefined])
      await withdraw(a, output(1))
      expect(await makerAt(path)).toEqual({ jobId: jobId(1), epoch: 2 })
      await withdraw(b, output(2))
      expect(readdirSync(directory)).toEqual([])
    }
  })
})

describe('unfinished files', () => {
  it('of another node stay when a node starts or withdraws an attempt', async () => {
    const [own, other, ofOther] = [aFinished(a, 1), aFinished(a, 1, 2), aFinished(b, 1)]
    await withdraw(a, output(1))
    expect([own, other, ofOther].map(existsSync)).toEqual([false, true, true])
    await removeUnfinished(a)
    expect([own, other, ofOther].map(existsSync)).toEqual([false, false, true])
  })

  it('of a machine with a directory of its own are all removed when it starts', async () => {
    aFinished(a, 1)
    aFinished(resultsDirectory(directory), 1)
    writeFileSync(path, 'film')
    await removeUnfinished(resultsDirectory(directory))
    expect(readdirSync(directory)).toEqual([filename])
  })
})
