import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { watchFiles } from '../../../src/infra/disk/file-watch.ts'
import { lockDatabase, lockDirectory } from '../../../src/infra/disk/lock.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lock-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

describe('the lock of a data directory', () => {
  it('makes the directory when there is none', () => {
    const lock = lockDirectory(join(directory, 'new', 'data'))
    expect(existsSync(join(directory, 'new', 'data'))).toBe(true)
    lock.release()
  })

  it('is had by one service at a time, and free again when that lets go', () => {
    const lock = lockDirectory(directory)
    expect(() => lockDirectory(directory)).toThrow(`${directory} is in use`)
    expect(() => lockDirectory(directory)).toThrow(`pid ${process.pid}`)
    lock.release()
    lockDirectory(directory).release()
  })

  it('of another directory is another lock', () => {
    const locks = ['a', 'b'].map((name) => lockDirectory(join(directory, name)))
    for (const lock of locks) lock.release()
  })
})

describe('the lock of a database', () => {
  const stateDb = () => join(directory, 'state.db')

  it('is refused a second time, with what to do', () => {
    const lock = lockDatabase(stateDb())
    expect(() => lockDatabase(stateDb())).toThrow(
      `${stateDb()} is in use by another wan-supervisor (pid ${process.pid}). Stop that one first, or give this one its own STATE_DB.`,
    )
    lock.release()
    lockDatabase(stateDb()).release()
  })

  it.each([
    ['exists', true],
    ['does not exist yet', false],
  ])('is the same lock through symbolic links, when the database %s', (_when, exists) => {
    if (exists) writeFileSync(stateDb(), '')
    mkdirSync(join(directory, 'other'))
    symlinkSync(stateDb(), join(directory, 'other', 'first.db'))
    symlinkSync('first.db', join(directory, 'other', 'second.db'))
    symlinkSync(directory, join(directory, 'other', 'whole'))
    const lock = lockDatabase(stateDb())
    for (const path of ['first.db', 'second.db', 'whole/state.db']) {
      expect(() => lockDatabase(join(directory, 'other', path))).toThrow('in use')
    }
    lock.release()
  })

  it('of another database in the same directory is another lock', () => {
    const locks = ['a.db', 'b.db'].map((name) => lockDatabase(join(directory, name)))
    for (const lock of locks) lock.release()
  })

  it('names the file and what to check when it cannot be created', () => {
    mkdirSync(`${stateDb()}.lock`)
    expect(() => lockDatabase(stateDb())).toThrow(/state\.db\.lock cannot be created .*Check/)
  })
})

describe('a watch over files', () => {
  const path = () => join(directory, 'a.lock')
  let lost: string[]
  const watch = (paths: readonly string[], everyMs = 60_000) =>
    watchFiles(paths, (why) => lost.push(why), { everyMs })
  beforeEach(() => {
    lost = []
    writeFileSync(path(), '')
  })

  it.each<[how: string, change: () => void]>([
    ['removed', () => rmSync(path())],
    ['removed', () => rmSync(directory, { recursive: true })],
    [
      'replaced',
      () => {
        renameSync(path(), `${path()}.old`)
        writeFileSync(path(), '')
      },
    ],
  ])('reports a %s file, once', async (how, change) => {
    using watched = watch([path()])
    await watched.check()
    expect(lost).toEqual([])
    change()
    await watched.check()
    await watched.check()
    expect(lost).toEqual([`${path()} was ${how} while the service ran.`])
  })

  it('checks by itself', async () => {
    using _ = watch([path()], 5)
    rmSync(path())
    await vi.waitUntil(() => lost.length > 0)
  })

  it('ignores files that did not exist at its start, and changes of content', async () => {
    using watched = watch([path(), join(directory, 'later')])
    writeFileSync(path(), 'more')
    await watched.check()
    expect(lost).toEqual([])
  })

  it('reports nothing after its end', async () => {
    const watched = watch([path()])
    watched[Symbol.dispose]()
    rmSync(path())
    await watched.check()
    expect(lost).toEqual([])
  })
})
