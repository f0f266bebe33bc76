/** The clients in `API_TOKENS`. */
import { createHash } from 'node:crypto'
import * as v from 'valibot'
import type { TokenHolder } from '../domain/client.ts'
import { commaSeparated } from './values.ts'

const minTokenLength = 16

/** `name:token[:admin]`. A fault names the entry by its number and repeats nothing of it. */
export const tokenHolders = v.pipe(
  commaSeparated,
  v.rawTransform(({ dataset, addIssue, NEVER }): TokenHolder[] => {
    const entries = dataset.value.map((entry) => entry.split(':'))
    const faults = entries.flatMap((entry, index) =>
      tokenFaults(entry, entries.slice(0, index)).map((fault) => `entry ${index + 1} ${fault}`),
    )
    for (const message of faults) addIssue({ message })
    return faults.length > 0 ? NEVER : entries.map(toTokenHolder)
  }),
)

function tokenFaults(
  [name = '', token = '', role, ...rest]: readonly string[],
  earlier: readonly (readonly string[])[],
): string[] {
  const rules: [kept: boolean, fault: string][] = [
    [token !== '' && rest.length === 0, 'must be name:token or name:token:admin'],
    [
      /^[A-Za-z][\w.-]{0,63}$/.test(name),
      'must have a name of 1 to 64 letters, digits and . _ - that begins with a letter',
    ],
    [
      token === '' || token.length >= minTokenLength,
      `must have a token of at least ${minTokenLength} characters`,
    ],
    [
      token === '' || /^[\w.~+/-]+=*$/.test(token),
      'must have a token of letters, digits and . _ ~ + / - only',
    ],
    [role === undefined || role === 'admin', 'may end in :admin and in nothing else'],
    [!earlier.some(([other]) => other === name), 'has the name of an entry before it'],
    [
      token === '' || !earlier.some(([, other]) => other === token),
      'has the token of an entry before it',
    ],
  ]
  return rules.flatMap(([kept, fault]) => (kept ? [] : [fault]))
}

const toTokenHolder = ([name = '', token = '', role]: readonly string[]): TokenHolder => ({
  name,
  isAdmin: role === 'admin',
  tokenDigest: createHash('sha256').update(token).digest(),
})
