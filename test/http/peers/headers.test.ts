import { describe, expect, it } from 'vitest'
import { requestHeaders } from '../../../src/http/peers/headers.ts'

describe('the headers of a forwarded request', () => {
  it('begin with those of the node: a receiver that drops headers beyond a limit reads its keys', () => {
    const rawHeaders = Array.from({ length: 2_000 }, () => ['a', 'b']).flat()
    const sent = requestHeaders(
      { rawHeaders: ['Wan-Forward-Key', 'forged', ...rawHeaders], headers: {} },
      { 'wan-forward-key': 'real', 'x-request-id': 'mine' },
    )
    expect(sent).toEqual(['wan-forward-key', 'real', 'x-request-id', 'mine', ...rawHeaders])
  })
})
