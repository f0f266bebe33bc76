import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Connection, Crowd } from '../../../src/http/connections/crowd.ts'

type Change = Readonly<{ number: number; does: 'open' | 'close' | 'work' | 'rest' | 'peer' }>

const anyChange: fc.Arbitrary<Change> = fc.record({
  number: fc.nat(5),
  does: fc.constantFrom('open', 'close', 'work', 'rest', 'peer'),
})

it('a crowd knows of each address how many there are, and which has been idle longest', () => {
  fc.assert(
    fc.property(fc.array(anyChange), (changes) => {
      const crowd = new Crowd<Connection & { isBusy: boolean; since: number; isPeer: boolean }>()
      const all = Array.from({ length: 6 }, (_, number) => ({
        ...{ address: `address ${number % 2}`, isBusy: false, isPeer: false },
        ...{ since: 0, heldBytes: 0, progressAt: 0 },
      }))
      const open = new Set<(typeof all)[number]>()
      changes.forEach(({ number, does }, now) => {
        const one = all[number]
        if (!one) return
        if (does === 'close') {
          expect(crowd.delete(one)).toBe(open.delete(one))
        } else if (does === 'open' && !open.has(one)) {
          Object.assign(one, { isBusy: false, isPeer: false, since: now })
          open.add(one)
          crowd.add(one)
        } else if (does === 'peer') {
          crowd.becamePeer(one)
        } else if (does !== 'open' && one.isBusy !== (does === 'work')) {
          Object.assign(one, { isBusy: does === 'work', since: now })
          crowd.becameIdleOrBusy(one)
        }
      })
      expect(crowd.size).toBe(open.size)
      expect(new Set(crowd)).toEqual(open)
      for (const address of ['address 0', 'address 1']) {
        const own = [...open].filter((one) => one.address === address && !one.isPeer)
        const idle = own.filter(({ isBusy }) => !isBusy).toSorted((a, b) => a.since - b.since)
        expect(crowd.countOf(address)).toBe(own.length)
        expect([...(crowd.shares.get(address)?.idle ?? [])]).toEqual(idle)
      }
    }),
  )
})
