import { describe, expect, it } from 'vitest'
import { createOutsiders } from '../../../src/infra/processes/outsiders.ts'

const shell = { pid: 7, start: 100 }

function searched(...atSeconds: number[]) {
  let ms = 0
  const outsiders = createOutsiders(() => ms)
  for (const seconds of atSeconds) {
    ms = seconds * 1000
    outsiders.add(shell)
  }
  return outsiders
}

describe('a process that looks as if it had nothing to do with an attempt', () => {
  it('is looked at again soon after: it may be about to become part of one', () => {
    expect(searched(0, 9.9).have(shell)).toBe(false)
  })

  it('need not be looked at when it still does so after ten seconds', () => {
    expect(searched(0, 10).have(shell)).toBe(true)
  })

  it('has to do so all the time', () => {
    let ms = 0
    const outsiders = createOutsiders(() => ms)
    outsiders.add(shell)
    outsiders.remove(shell)
    ms = 10_000
    outsiders.add(shell)
    expect(outsiders.have(shell)).toBe(false)
  })

  it('does not speak for a later process with the same pid', () => {
    const outsiders = searched(0, 10)
    const later = { ...shell, start: 101 }
    expect(outsiders.have(later)).toBe(false)
    outsiders.add(later)
    expect([outsiders.have(shell), outsiders.have(later)]).toEqual([false, false])
  })
})
