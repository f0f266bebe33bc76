import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Allowed, createAddressGuard, parseAllowed } from '../../src/domain/address-guard.ts'

const guard = createAddressGuard([])
const vouching = (...entries: string[]) =>
  createAddressGuard(entries.map((entry) => parseAllowed(entry) as Allowed))

describe('a URL', () => {
  it.each([
    'https://example.org/hook',
    'http://example.org:8080/a?b=c',
    'https://xn--bcher-kva.example/',
    'https://bücher.example/',
    'https://8.8.8.8/',
    'https://[2606:4700:4700::1111]/',
    'http://example.org:443',
    'https://localhost.example.org/',
  ])('may be %s', (url) => {
    expect(guard.refuse(url)).toBeUndefined()
  })

  it.each([
    ['no URL', ['', 'example.org', '//example.org', 'https://', 'https://exa mple.org']],
    ['of another protocol', ['ftp://example.org', 'file:///etc/passwd', 'gopher://x/', 'data:,x']],
    ['with a user', ['https://user@example.org', 'https://user:password@example.org/']],
    ['localhost by name', ['http://localhost', 'http://LOCALHOST.', 'http://a.localhost:8080/']],
    ['of a local network', ['http://printer.local', 'http://metadata.google.internal/x']],
    ['loopback', ['http://127.0.0.1', 'http://127.1', 'http://127.255.255.254:8080/']],
    ['loopback in decimal', ['http://2130706433/', 'http://2130706433:8080/']],
    ['loopback in octal', ['http://0177.0.0.1/', 'http://017700000001/']],
    ['loopback in hex', ['http://0x7f.0.0.1/', 'http://0x7f000001/', 'http://0x7f.1/']],
    ['loopback in other digits', ['http://①②⑦.⓪.⓪.①/', 'http://127。0。0。1/']],
    ['nowhere', ['http://0.0.0.0/', 'http://0/', 'http://[::]/', 'http://0.1.2.3']],
    [
      'private',
      ['http://10.0.0.1', 'http://172.16.0.1', 'http://172.31.255.255', 'http://192.168.1.1'],
    ],
    ['carrier-grade NAT', ['http://100.64.0.1', 'http://100.127.255.255']],
    [
      'link-local',
      ['http://169.254.0.1', 'http://169.254.169.254/latest/meta-data/', 'http://[fe80::1]/'],
    ],
    ['metadata in IPv6', ['http://[fd00:ec2::254]/latest/']],
    [
      'benchmarks and documents',
      ['http://198.18.0.1', 'http://192.0.2.1', 'http://203.0.113.9', 'http://[2001:db8::1]'],
    ],
    [
      'multicast and broadcast',
      ['http://224.0.0.1', 'http://239.1.1.1', 'http://255.255.255.255', 'http://[ff02::1]/'],
    ],
    ['reserved', ['http://240.0.0.1', 'http://192.0.0.8']],
    ['IPv6 loopback', ['http://[::1]/', 'http://[0:0:0:0:0:0:0:1]/']],
    ['unique-local', ['http://[fc00::1]/', 'http://[fdff::1]/']],
    ['site-local', ['http://[fec0::1]/']],
    [
      'IPv4 mapped into IPv6',
      ['http://[::ffff:127.0.0.1]/', 'http://[::ffff:7f00:1]/', 'http://[::ffff:a9fe:a9fe]/'],
    ],
    ['IPv4 in the first clothes of IPv6', ['http://[::127.0.0.1]/', 'http://[::7f00:1]/']],
    [
      'IPv4 translated',
      ['http://[64:ff9b::7f00:1]/', 'http://[64:ff9b:1::1]/', 'http://[::ffff:0:127.0.0.1]/'],
    ],
    ['IPv4 tunnelled', ['http://[2002:7f00:1::]/', 'http://[2001:0:7f00:1::]/']],
    [
      'a port of another service',
      ['http://example.org:22', 'http://example.org:25', 'https://8.8.8.8:853/'],
    ],
  ])('may not be %s', (_what, urls) => {
    for (const url of urls) expect(guard.refuse(url), url).toMatch(/^must /)
  })

  it('never has its user, password or query repeated in a refusal', () => {
    for (const url of ['http://me:secret@10.0.0.1/?token=secret', 'http://10.0.0.1/?token=secret'])
      expect(guard.refuse(url)).not.toContain('secret')
  })
})

describe('what is vouched for', () => {
  it('is a host by its name, whatever its port', () => {
    const { refuse, trusts } = vouching('hooks.lan', 'localhost')
    expect(refuse('http://hooks.lan:81/')).toBeUndefined()
    expect(refuse('http://HOOKS.lan./')).toBeUndefined()
    expect(refuse('http://localhost:3000/')).toBeUndefined()
    expect(trusts('hooks.lan')).toBe(true)
    expect(trusts('evil-hooks.lan')).toBe(false)
    expect(refuse('http://a.hooks.lan:81/')).toMatch(/port/)
  })

  it.each([
    ['127.0.0.1', '127.0.0.1', '127.0.0.2'],
    ['10.0.0.0/8', '10.255.0.1', '11.0.0.1:81'],
    ['192.168.0.0/24', '192.168.0.255', '192.168.1.0'],
    ['::1', '[::1]', '[::2]'],
    ['[::1]', '[::1]', '127.0.0.1'],
    ['fd00::/8', '[fd12::1]', '[fc00::1]'],
    ['127.0.0.1', '[::ffff:127.0.0.1]', '[::1]'],
    ['0.0.0.0/0', '10.0.0.1', '[fd00::1]'],
  ])('%s lets %s pass, and not %s', (entry, inside, outside) => {
    const { refuse } = vouching(entry)
    expect(refuse(`http://${inside}/`)).toBeUndefined()
    expect(refuse(`http://${outside}/`)).toMatch(/^must not/)
  })

  it.each([
    '',
    'a b',
    '10.0.0.0/33',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    'http://x',
    'x/y',
    '-a',
    'a..b',
    '*',
  ])('is not %j', (entry) => {
    expect(parseAllowed(entry)).toBeUndefined()
  })
})

it('lets no IPv4 address of private use pass, in whatever clothes', () => {
  const byte = fc.integer({ min: 0, max: 255 })
  const privateAddress = fc.oneof(
    fc.tuple(fc.constantFrom(0, 10, 127), byte, byte, byte),
    fc.tuple(fc.constant(192), fc.constant(168), byte, byte),
    fc.tuple(fc.constant(169), fc.constant(254), byte, byte),
    fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), byte, byte),
    fc.tuple(fc.integer({ min: 224, max: 255 }), byte, byte, byte),
  )
  fc.assert(
    fc.property(privateAddress, ([a, b, c, d]) => {
      const number = ((a * 256 + b) * 256 + c) * 256 + d
      const hex = number.toString(16).padStart(8, '0')
      const halves = `${hex.slice(0, 4)}:${hex.slice(4)}`
      const clothes = [
        `${a}.${b}.${c}.${d}`,
        String(number),
        `0x${hex}`,
        `0${number.toString(8)}`,
        `${a}.${(b * 256 + c) * 256 + d}`,
        ...['::ffff:', '::', '64:ff9b::', '::ffff:0:'].map((prefix) => `[${prefix}${halves}]`),
        `[2002:${halves}::]`,
      ]
      for (const host of clothes) expect(guard.refuse(`http://${host}/`), host).toMatch(/^must not/)
    }),
  )
})
