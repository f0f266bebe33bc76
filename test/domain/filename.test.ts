import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { defaultFilename, Filename, nameKey } from '../../src/domain/filename.ts'
import { gpu0, gpuId, jobId } from '../support/jobs.ts'

describe('a name that is asked for', () => {
  it.each([
    'fox.mp4',
    'f.mp4',
    '7.mp4',
    'A fox in the snow.mp4',
    'Take 2 (final)_v1.0-rc.mp4',
    'renard été.mp4',
    '狐.mp4',
    'лиса.mp4',
    'ثعلب.mp4',
    'हिन्दी.mp4',
    'fox.mov.mp4',
    'mp4.mp4',
    'console.mp4',
    'com.mp4',
    'com10.mp4',
    'result.mp4',
    'result_gpu.mp4',
    'my result_gpu0_.mp4',
    `${'a'.repeat(196)}.mp4`,
    `${'é'.repeat(98)}.mp4`,
  ])('may be %j', (name) => {
    expect(faultsOf(name)).toEqual([])
    expect(v.parse(Filename, name)).toBe(name)
  })

  it('is kept in one form of Unicode, whichever it came in', () => {
    const [composed, decomposed] = ['été.mp4', 'été.mp4'].map((name, index) =>
      name.normalize(index === 0 ? 'NFC' : 'NFD'),
    )
    expect(composed).not.toBe(decomposed)
    expect(v.parse(Filename, decomposed)).toBe(composed)
  })

  it.each<[name: unknown, fault: RegExp]>([
    [7, /must be text/],
    [null, /must be text/],
    ['', /must not be empty/],
    ['fox', /must end in \.mp4/],
    ['fox.MP4', /must end in \.mp4/],
    ['fox.mp4.exe', /must end in \.mp4/],
    ['fox.mp4 ', /must end in \.mp4/],
    ['fox.mp4\n', /must end in \.mp4/],
    ['.mp4', /must start with a letter or digit/],
    [' fox.mp4', /must start with a letter or digit/],
    ['-fox.mp4', /must start with a letter or digit/],
    ['.fox.mp4', /must start with a letter or digit/],
    ['(fox).mp4', /must start with a letter or digit/],
    ['.unfinished.x.1.mp4', /must start with a letter or digit/],
    ['\u0301fox.mp4', /must start with a letter or digit/],
    ['../fox.mp4', /may hold only letters/],
    ['/etc/fox.mp4', /may hold only letters/],
    ['a/fox.mp4', /may hold only letters/],
    ['a\\fox.mp4', /may hold only letters/],
    ['C:fox.mp4', /may hold only letters/],
    ['fox?.mp4', /may hold only letters/],
    ['fox*.mp4', /may hold only letters/],
    ['fox%2f.mp4', /may hold only letters/],
    ['fox\u0000.mp4', /may hold only letters/],
    ['fox\n.mp4', /may hold only letters/],
    ['fox\t.mp4', /may hold only letters/],
    ['fox\u202egp.mp4', /may hold only letters/],
    ['fox\u200b.mp4', /may hold only letters/],
    ['fox\u00a0.mp4', /may hold only letters/],
    ['fox".mp4', /may hold only letters/],
    ['fox🦊.mp4', /may hold only letters/],
    ['fox..mp4', /must not hold two dots in a row/],
    ['f..ox.mp4', /must not hold two dots in a row/],
    ['fox\ud800.mp4', /must be valid Unicode/],
    ['con.mp4', /reserve for devices/],
    ['NUL.mp4', /reserve for devices/],
    ['Aux.tar.mp4', /reserve for devices/],
    ['com1.mp4', /reserve for devices/],
    ['LPT9.mp4', /reserve for devices/],
    ['result_gpu0_fox.mp4', /must not begin like the names the service makes itself/],
    ['RESULT_GPU12_fox.mp4', /must not begin like the names the service makes itself/],
    [`${'a'.repeat(197)}.mp4`, /must be at most 200 bytes/],
    [`${'é'.repeat(99)}.mp4`, /must be at most 200 bytes/],
    [`${'e\u0301'.repeat(99)}.mp4`, /must be at most 200 bytes/],
  ])('must not be %j', (name, fault) => {
    expect(faultsOf(name).join('; ')).toMatch(fault)
  })

  it('is judged by its length once it is in its one form', () => {
    expect(faultsOf(`${'e\u0301'.repeat(98)}.mp4`)).toEqual([])
  })
})

describe('a name that the service makes', () => {
  it('tells GPU, time and job', () => {
    const at = Date.UTC(2026, 6, 4, 13, 5, 9, 999)
    expect(defaultFilename(jobId(123), gpuId(3), at)).toBe(
      'result_gpu3_2026-07-04_13-05-09_00000123.mp4',
    )
  })

  it('is one that nobody can ask for', () => {
    expect(faultsOf(defaultFilename(jobId(1), gpu0, 0))).toHaveLength(1)
  })
})

describe('the key of a name', () => {
  it.each([
    ['FOX.mp4', 'fox.mp4'],
    ['Émile.mp4', 'émile.mp4'],
    ['E\u0301mile.mp4', 'émile.mp4'],
    ['Straße.mp4', 'STRASSE.mp4'],
    ['STRAẞE.mp4', 'straße.mp4'],
    ['ΟΔΟΣ.mp4', 'οδος.mp4'],
    ['οδοσ.mp4', 'οδος.mp4'],
    ['ﬁlm.mp4', 'FILM.mp4'],
    ['K.mp4', 'k.mp4'],
    ['Ⅷ.mp4', 'ⅷ.mp4'],
    ['ıstanbul.mp4', 'Istanbul.mp4'],
  ])('of %j is that of %j', (name, other) => {
    expect(nameKey(name)).toBe(nameKey(other))
  })

  it.each([
    ['fox.mp4', 'fox .mp4'],
    ['emile.mp4', 'émile.mp4'],
    ['İstanbul.mp4', 'Istanbul.mp4'],
  ])('of %j is not that of %j', (name, other) => {
    expect(nameKey(name)).not.toBe(nameKey(other))
  })

  it('is the same for a name in upper case, in lower case, and in its parts', () => {
    const letters = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
    fc.assert(
      fc.property(letters, (name) => {
        const key = nameKey(name)
        const spelled = [name.toUpperCase(), name.normalize('NFD'), name.normalize('NFC'), key]
        for (const same of spelled) expect(nameKey(same)).toBe(key)
      }),
    )
  })
})

function faultsOf(name: unknown): string[] {
  const result = v.safeParse(Filename, name)
  return (result.issues ?? []).map(({ message }) => message)
}
