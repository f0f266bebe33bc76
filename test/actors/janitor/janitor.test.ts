import { describe, expect, it } from 'vitest'
import type { ArchiveMessage } from '../../../src/actors/archive/archive-protocol.ts'
import type { DiskEffect, DiskNews, DiskState } from '../../../src/actors/janitor/disk-protocol.ts'
import {
  type DiskMoment,
  guardDisks,
  initialDiskState,
} from '../../../src/actors/janitor/disk-transition.ts'
import { janitorBehaviour } from '../../../src/actors/janitor/janitor-actor.ts'
import type { QueueMessage } from '../../../src/actors/queue/queue-protocol.ts'
import type { Disk } from '../../../src/domain/disk.ts'
import type { GpuId } from '../../../src/domain/job.ts'
import { anActor, gpu1, midnight } from '../../support/jobs.ts'
import { createProbe } from '../../support/probe.ts'

const minute = 60_000
const hour = 60 * minute
const disk = (freeBytes: number, path = '/data'): Disk => ({ place: 'work', path, freeBytes })

describe('a janitor', () => {
  it('looks, tells the queue what it found, and looks again later', () => {
    const janitor = aJanitor({ minFreeBytes: 100 })
    expect(janitor.hears({ type: 'checkDue' })).toEqual([{ do: 'measure' }])
    for (const hasRoom of [true, true, false, false, true]) {
      const effects = janitor.finds(disk(hasRoom ? 100 : 99))
      const shortage = hasRoom ? {} : { shortage: 'bytes' }
      expect(effects).toContainEqual({ do: 'tellQueue', hasRoom, ...shortage })
      expect(effects.at(-1)).toEqual({ do: 'checkLater' })
    }
  })

  it('sees no room when any of the disks has too little', () => {
    const janitor = aJanitor({ minFreeBytes: 100 })
    const effects = janitor.finds(disk(500), disk(20, '/results'))
    expect(effects).toContainEqual({ do: 'tellQueue', hasRoom: false, shortage: 'bytes' })
    expect(effects).toContainEqual({ do: 'logNoRoom', disks: [disk(20, '/results')] })
  })

  it('says once that room has run out, and once that it is back', () => {
    const janitor = aJanitor({ minFreeBytes: 100 })
    const said = [500, 50, 40, 500, 500, 50].map((free) =>
      janitor
        .finds(disk(free))
        .map((effect) => effect.do)
        .filter((name) => name.startsWith('log')),
    )
    expect(said).toEqual([[], ['logNoRoom'], [], ['logRoomAgain'], [], ['logNoRoom']])
  })

  it('is content with any room when no limit is set, but not with none', () => {
    const janitor = aJanitor({ minFreeBytes: 0 })
    const some = disk(1024 ** 2)
    expect(janitor.finds(some)).toContainEqual({ do: 'tellQueue', hasRoom: true })
    const room = { ...some, files: 1_000 }
    const last = janitor.finds({ ...room, freeFiles: 1 })
    expect(last).toContainEqual({ do: 'tellQueue', hasRoom: true })
    for (const full of [disk(0), { ...room, freeFiles: 0 }]) {
      const effects = janitor.finds(full)
      expect(effects).toContainEqual(expect.objectContaining({ do: 'tellQueue', hasRoom: false }))
    }
  })

  it('sees no room when a disk has too few inodes, of which each file takes one', () => {
    const janitor = aJanitor({ minFreeBytes: 100 })
    const withFiles = (freeFiles: number, files: number) => ({ ...disk(500), freeFiles, files })
    const sees = (one: Disk) =>
      janitor.finds(one).flatMap((effect) => (effect.do === 'tellQueue' ? [effect] : []))
    const short = [{ do: 'tellQueue', hasRoom: false, shortage: 'files' }]
    const enough = [{ do: 'tellQueue', hasRoom: true }]
    expect(sees(withFiles(255, 1_000_000))).toEqual(short)
    expect(sees(withFiles(256, 1_000_000))).toEqual(enough)
    // A small file system could not be used at all.
    expect(sees(withFiles(49, 1_000))).toEqual(short)
    expect(sees(withFiles(50, 1_000))).toEqual(enough)
    expect(sees(withFiles(31, 100))).toEqual(short)
  })

  it('does not count inodes where a file system creates them as it needs them', () => {
    const effects = aJanitor({ minFreeBytes: 100 }).finds(disk(500))
    expect(effects).toContainEqual({ do: 'tellQueue', hasRoom: true })
  })

  it('backs up once a day', () => {
    const janitor = aJanitor()
    expect(janitor.finds(disk(500))).toContainEqual({
      do: 'backUp',
      day: '2026-01-01',
      mayPrune: true,
    })
    expect(backUpsIn(janitor.finds(disk(500)))).toEqual([])
    janitor.hears({ type: 'backedUp', day: '2026-01-01' })
    expect(backUpsIn(janitor.finds(disk(500)))).toEqual([])
    janitor.waits(24 * hour)
    expect(janitor.finds(disk(500))).toContainEqual({
      do: 'backUp',
      day: '2026-01-02',
      mayPrune: true,
    })
  })

  it('backs up once a day, however often the clock is set', () => {
    const janitor = aJanitor()
    janitor.finds(disk(500))
    janitor.hears({ type: 'backedUp', day: '2026-01-01' })
    for (const days of [1, -3, 9, 400]) {
      janitor.waits(hour)
      janitor.sets(days * 24 * hour)
      expect(backUpsIn(janitor.finds(disk(500)))).toEqual([])
    }
    janitor.waits(16 * hour)
    expect(backUpsIn(janitor.finds(disk(500)))).toHaveLength(1)
  })

  it('keeps every backup while the clock is in doubt, and waits for a look at it', () => {
    const janitor = aJanitor()
    janitor.thinks()
    expect(backUpsIn(janitor.finds(disk(500)))).toEqual([])
    janitor.thinks(false)
    expect(backUpsIn(janitor.finds(disk(500)))).toMatchObject([{ mayPrune: false }])
  })

  it('backs up later what there is no room for now', () => {
    const janitor = aJanitor({ minFreeBytes: 100 })
    expect(backUpsIn(janitor.finds(disk(50)))).toEqual([])
    expect(backUpsIn(janitor.finds(disk(500)))).toHaveLength(1)
  })

  it('tries a backup that failed again, but not at once', () => {
    const janitor = aJanitor()
    janitor.finds(disk(500))
    const error = new Error('no')
    expect(janitor.hears({ type: 'backupFailed', error })).toEqual([
      { do: 'logTrouble', trouble: 'backup', error },
    ])
    janitor.waits(hour - 1)
    expect(backUpsIn(janitor.finds(disk(500)))).toEqual([])
    janitor.waits(1)
    expect(backUpsIn(janitor.finds(disk(500)))).toHaveLength(1)
  })

  it('keeps its opinion while a disk cannot be asked, and says so once', () => {
    const janitor = aJanitor()
    const failed = { type: 'measuringFailed', error: new Error('gone') } as const
    janitor.finds(disk(500))
    const said = [failed, failed].map((news) => janitor.hears(news).map((effect) => effect.do))
    expect(said).toEqual([['logTrouble', 'checkLater'], ['checkLater']])
    janitor.finds(disk(500))
    expect(janitor.hears(failed)).toHaveLength(2)
  })

  it('neither counts nor chooses videos on machines that are away', async () => {
    const asked: (readonly GpuId[] | undefined)[] = []
    const quiet = () => {}
    anActor(
      'janitor',
      janitorBehaviour({
        queue: createProbe<QueueMessage>('queue').ref,
        retention: {
          archive: createProbe<ArchiveMessage>('archive').ref,
          store: {
            latestEnd: async () => undefined,
            noteClock: async () => {},
            async videoBytes(away) {
              asked.push(away)
              return 8
            },
            async finished({ away }) {
              asked.push(away)
              return []
            },
          },
          limits: { retentionMs: 0, maxResultBytes: 7, tombstoneMs: 0 },
          away: () => [gpu1],
        },
        watchesDisks: false,
        minFreeBytes: 0,
        observe: () => {},
        log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
        everyMs: 1,
        housekeeping: {
          measure: async () => [],
          backUp: async () => {},
          removeLeftOvers: async () => {},
          restoreReserve: async () => {},
        },
      }),
    )
    await expect.poll(() => asked.length).toBeGreaterThan(1)
    expect(asked.slice(0, 2)).toEqual([[gpu1], [gpu1]])
  })

  it('does as it says, again and again', async () => {
    const done: string[] = []
    const queue = createProbe<QueueMessage>('queue')
    let looks = 0
    const quiet = (_: object, phrase: string) => void done.push(phrase)
    const behaviour = janitorBehaviour({
      queue: queue.ref,
      retention: {
        archive: createProbe<ArchiveMessage>('archive').ref,
        store: {
          latestEnd: async () => undefined,
          noteClock: async () => {},
          videoBytes: async () => 0,
          finished: async () => [],
        },
        limits: { retentionMs: 0, maxResultBytes: 0, tombstoneMs: 0 },
        away: () => [],
      },
      minFreeBytes: 100,
      observe: () => {},
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      everyMs: 1,
      housekeeping: {
        async measure() {
          looks += 1
          if (looks === 2) throw new Error('gone')
          return [disk(looks === 3 ? 50 : 500)]
        },
        backUp: async (day) => void done.push(`backup of ${day.length} letters`),
        removeLeftOvers: async () => {},
        async restoreReserve() {
          if (looks === 1) throw new Error('no')
        },
      },
    })
    anActor('janitor', behaviour)
    await expect.poll(() => looks).toBeGreaterThan(5)
    const heard = queue.told.filter(({ type }) => type === 'roomChecked')
    expect(heard.slice(0, 3)).toEqual([
      { type: 'roomChecked', hasRoom: true },
      { type: 'roomChecked', hasRoom: false, shortage: 'bytes' },
      { type: 'roomChecked', hasRoom: true },
    ])
    expect(done.toSorted()).toEqual(
      [
        'a disk is short of room; no job is taken or begun until there is more',
        'backup of 10 letters',
        'the free space could not be found out',
        'the reserve for a full disk could not be made',
        'there is room on every disk again',
      ].toSorted(),
    )
  })
})

const backUpsIn = (effects: readonly DiskEffect[]) =>
  effects.filter((effect) => effect.do === 'backUp')

function aJanitor({ minFreeBytes = 100 } = {}) {
  let state: DiskState = initialDiskState
  let now: DiskMoment = { at: midnight, uptimeMs: 1_000, isClockRight: true }
  function hears(message: DiskNews): readonly DiskEffect[] {
    const [next, effects] = guardDisks(minFreeBytes, state, message, now)
    state = next
    return effects
  }
  return {
    hears,
    finds: (...disks: Disk[]) => hears({ type: 'measured', disks }),
    waits(ms: number): void {
      now = { ...now, at: now.at + ms, uptimeMs: now.uptimeMs + ms }
    },
    sets(byMs: number): void {
      now = { ...now, at: now.at + byMs }
    },
    /** What is thought of the clock; nothing before the first look at it. */
    thinks(isClockRight?: boolean): void {
      const { at, uptimeMs } = now
      now = { at, uptimeMs, ...(isClockRight !== undefined && { isClockRight }) }
    },
  }
}
