import { describe, expect, it } from 'vitest'
import { withoutSecrets } from '../../../src/infra/logging/redaction.ts'
import { withoutControls } from '../../../src/infra/logging/stdout-log.ts'

const secret = 'f00dBABE.0123-4567_89ab+cdef/=='

describe('a line of the log', () => {
  it.each<[where: string, fields: object]>([
    ['a header', { headers: { Authorization: `Bearer ${secret}`, Cookie: `session=${secret}` } }],
    ['a header in small letters', { headers: { authorization: secret, 'x-api-key': secret } }],
    [
      'a list of headers',
      { err: { message: `sent authorization: bearer ${secret}, was refused` } },
    ],
    ['a key between nodes', { headers: { 'wan-forward-key': secret, 'wan-node-key': secret } }],
    ['a password', { err: { message: `Basic ${btoa(secret)} is not known` } }],
    ['a webhook', { webhook: { secret: `whsec_${btoa(secret)}` } }],
    ['secrets side by side', { secrets: `whsec_${btoa(secret)} whsec_${btoa(secret)}` }],
    ['a link', { path: `/files/a.mp4?job=1&expires=2&signature=${secret}` }],
    ['a link with more behind', { path: `/files/a.mp4?signature=${secret}&job=1` }],
    ['an address with a password', { url: `https://ada:${secret}@example.org/hook` }],
    ['JSON within an error', { err: { message: JSON.stringify({ token: secret, secret }) } }],
    [
      'JSON within JSON within an error',
      { err: { message: JSON.stringify({ body: JSON.stringify({ webhook_secret: secret }) }) } },
    ],
    ['a field with quotes in it', { password: `"${secret}\\"${secret}` }],
    ['the environment', { env: { API_TOKENS: `ada:${secret}` } }],
  ])('is without the secret of %s, and still JSON with all else in it', (_, fields) => {
    const written = withoutSecrets(
      JSON.stringify({ level: 30, ...fields, jobId: 'x', msg: 'it is' }),
    )
    expect(written).toContain('[redacted]')
    expect(written).not.toContain(secret.slice(0, 8))
    expect(written).not.toContain(btoa(secret).slice(0, 8))
    expect(JSON.parse(written)).toMatchObject({ level: 30, jobId: 'x', msg: 'it is' })
  })

  it('stays as it is when there is nothing to hide', () => {
    const line = JSON.stringify({
      jobId: 'x',
      status: 'basic',
      token_count: 512,
      msg: 'job status',
    })
    expect(withoutSecrets(line)).toBe(`${line}\n`)
  })

  it('gives a terminal nothing to obey', () => {
    const said = '\u001b[2J\u001b]0;owned\u0007\r\b\u009b31m\\u001b [sim] "\\"'
    const shown = JSON.parse(withoutControls(JSON.stringify({ said }))) as { said: string }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
    expect(shown.said).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
    expect(shown.said).toContain('\\u001b [sim] "\\"')
  })
})
