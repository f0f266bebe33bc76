import { describe, expect, it } from 'vitest'
import { takeOver, whyWithheld } from '../../../src/actors/webhook/registrant-rules.ts'

const ops = { name: 'ops', isAdmin: true }
const ada = { name: 'ada', isAdmin: false }
const ofAll = (...registeredBy: string[]) => ({ owner: null, registeredBy })
const ofAda = { owner: 'ada', registeredBy: ['ada'] }

describe('a webhook', () => {
  it('is served while its client is there, as an admin where it reports jobs of others', () => {
    expect(whyWithheld(ofAda, [ada])).toBeUndefined()
    expect(whyWithheld(ofAda, [{ ...ada, isAdmin: true }])).toBeUndefined()
    expect(whyWithheld(ofAll('ops'), [ada, ops])).toBeUndefined()
  })

  it('is withheld when its client is revoked or no longer an admin', () => {
    expect(whyWithheld(ofAda, [ops])).toMatch(/ada is no longer in API_TOKENS/)
    expect(whyWithheld(ofAll('ops'), [ada])).toMatch(/ops is no longer in API_TOKENS/)
    expect(whyWithheld(ofAll('ops'), [{ ...ops, isAdmin: false }])).toMatch(/ops .* an admin/)
  })

  it('that a demoted admin registered for a job of its own is served', () => {
    const ofOps = { owner: 'ops', registeredBy: ['ops'] }
    expect(whyWithheld(ofOps, [{ ...ops, isAdmin: false }])).toBeUndefined()
  })

  it('is withheld when one of those that may have registered it is revoked', () => {
    expect(whyWithheld(ofAll('ops', 'root'), [ops, { ...ops, name: 'root' }])).toBeUndefined()
    expect(whyWithheld(ofAll('ops', 'root'), [ops])).toMatch(/root/)
  })

  it('is served without tokens, and withheld with tokens when it was registered without one', () => {
    expect(whyWithheld(ofAll(), [])).toBeUndefined()
    expect(whyWithheld(ofAll('ops'), [])).toBeUndefined()
    expect(whyWithheld(ofAll(), [ops])).toMatch(/without a token/)
  })
})

describe('a webhook that is enabled', () => {
  it('becomes the caller’s when it was withheld, and stays whose it was otherwise', () => {
    expect(takeOver(ofAll('root'), [ops], 'ops')).toEqual(['ops'])
    expect(takeOver(ofAll(), [ops], 'ops')).toEqual(['ops'])
    const root = { ...ops, name: 'root' }
    expect(takeOver(ofAll('root'), [ops, root], 'ops')).toEqual(['root'])
    expect(takeOver(ofAll('root'), [], null)).toEqual(['root'])
  })
})
