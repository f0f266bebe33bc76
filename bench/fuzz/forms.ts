/** Forms (`multipart/form-data`): most of them nearly right, some of them cut short or rubbish. */
import { crc32, deflateSync } from 'node:zlib'
import fc, { type Arbitrary } from 'fast-check'

export type Form = Readonly<{ contentType: string; body: Uint8Array }>

type Part = Readonly<{ head: string; body: Uint8Array }>

/** Forms of these fields, of which `fileField` may hold a picture. */
export function formsOf(fields: Arbitrary<unknown>, fileField: string): Arbitrary<Form> {
  const parts = fc
    .tuple(
      fields.map(partsOf),
      fc.option(filePart(fileField), { freq: 2, nil: undefined }),
      fc.option(oddPart, { freq: 2, nil: undefined }),
    )
    .map(([own, file, odd]) => [...own, ...(file ? [file] : []), ...(odd ? [odd] : [])])
  return fc
    .record({ parts, boundary, contentType, layout, cut })
    .map(({ parts: all, boundary: name, contentType: type, layout: how, cut: keep }) => {
      const whole = laidOut(all, how.boundary ?? name, how)
      return {
        contentType: type.replaceAll('BOUNDARY', name),
        body: whole.subarray(0, Math.ceil(whole.length * keep)),
      }
    })
}

const bytes = (text: string): Uint8Array => Buffer.from(text)

/** An object's members as a client of a form sends them. */
function partsOf(value: unknown): Part[] {
  if (typeof value !== 'object' || value === null) return [textPart('value', String(value))]
  return Object.entries(value).flatMap(([name, member]) => {
    if (member === undefined) return []
    if (typeof member !== 'object' || member === null) return [textPart(name, String(member))]
    const inner = Object.entries(member).map(([key, text]) =>
      textPart(`${name}[${key}]`, `${text}`),
    )
    // As brackets, or as JSON: both are usual.
    return inner.length % 2 === 0 ? inner : [textPart(name, JSON.stringify(member))]
  })
}

const quoted = (name: string): string =>
  name.replaceAll('"', '%22').replaceAll('\r', '%0D').replaceAll('\n', '%0A')

const textPart = (name: string, text: string): Part => ({
  head: `Content-Disposition: form-data; name="${quoted(name)}"`,
  body: bytes(text),
})

const fileName = fc.constantFrom(
  ...['a.png', '../../etc/passwd', 'a\\..\\b', '', '.', '\0', 'x'.repeat(3_000), 'ä.png'],
)
const fileType = fc.constantFrom(
  ...['image/png', 'application/octet-stream', 'text/html; charset=utf-16', '', 'image/png\0'],
)

function filePart(field: string): Arbitrary<Part> {
  const name = fc.oneof(
    { weight: 6, arbitrary: fc.constant(field) },
    { weight: 1, arbitrary: fc.constantFrom('file', `${field}[]`, '__proto__', '', 'prompt') },
  )
  const content = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...[16, 64, 200].map(pictureOf)) },
    // A picture that says it is larger than it is, and one that ends before its time.
    { weight: 1, arbitrary: fc.constant(pictureOf(64).subarray(0, 40)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 400 }) },
    { weight: 1, arbitrary: fc.constantFrom(bytes('RIFF\0\0\0\0WEBPVP8 '), bytes('\xff\xd8\xff')) },
  )
  return fc.tuple(name, fileName, fileType, content).map(([which, filename, type, body]) => ({
    head:
      `Content-Disposition: form-data; name="${which}"; filename="${filename}"\r\n` +
      `Content-Type: ${type}`,
    body,
  }))
}

const oddName = fc.oneof(
  fc.constantFrom('a[b][c]', '[x]', 'metadata[__proto__]', 'input_reference[image_url]', 'a[', ']'),
  fc.constantFrom(
    'prompt',
    'prompt[x]',
    'x'.repeat(300),
    'input_reference[file_id]',
    'constructor',
  ),
)

/** A part as no client makes it. */
const oddPart: Arbitrary<Part> = fc
  .tuple(
    fc.oneof(
      oddName.map((name) => `Content-Disposition: form-data; name="${name}"`),
      fc.constantFrom(
        ...['', 'Content-Disposition: form-data', 'Content-Disposition: attachment; name=x', ': x'],
        ...['Content-Disposition: form-data; name="a', 'Content-Disposition: form-data; name*=x'],
        ...['content-disposition:form-data;name=x;name=y', `X: ${'y'.repeat(20_000)}`],
        'Content-Disposition: form-data; name="x"\r\nContent-Transfer-Encoding: base64',
        'Content-Disposition: form-data; name="x"\r\nContent-Type: text/plain; charset=utf-7',
        Array.from({ length: 60 }, (_, n) => `X-${n}: y`).join('\r\n'),
      ),
      fc.string({ unit: 'binary', maxLength: 60 }),
    ),
    fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constant(bytes('{"image_url":"data:,x"}'))),
  )
  .map(([head, body]) => ({ head, body }))

const boundary = fc.oneof(
  { weight: 6, arbitrary: fc.stringMatching(/^[A-Za-z0-9]{1,30}$/) },
  { weight: 1, arbitrary: fc.constantFrom('-', "'()+_,./:=?", 'x'.repeat(200), '--', 'a b') },
)

const contentType = fc.oneof(
  { weight: 12, arbitrary: fc.constant('multipart/form-data; boundary=BOUNDARY') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ...[
        'multipart/form-data; boundary="BOUNDARY"',
        'multipart/form-data; boundary=',
        'Multipart/',
      ],
      ...['multipart/form-data; boundary=other', 'multipart/mixed; boundary=BOUNDARY'],
      ...[
        'multipart/form-data;boundary=BOUNDARY; charset=utf-16',
        'multipart/form-data; boundary="',
      ],
    ),
  },
)

type Layout = Readonly<{ end: string; line: string; before: string; boundary?: string }>

const usual: Layout = { end: '--\r\n', line: '\r\n', before: '' }
const layout: Arbitrary<Layout> = fc.oneof(
  { weight: 12, arbitrary: fc.constant(usual) },
  {
    weight: 3,
    arbitrary: fc.constantFrom<Layout>(
      { ...usual, end: '' },
      { ...usual, end: '--' },
      { ...usual, end: '\r\n' },
      { ...usual, line: '\n' },
      { ...usual, before: 'a preamble\r\n' },
      { ...usual, end: '--\r\nan epilogue' },
      { ...usual, boundary: 'another' },
      { ...usual, boundary: '' },
    ),
  },
)

/** Which share of it is sent, whatever its length says. */
const cut = fc.oneof(
  { weight: 8, arbitrary: fc.constant(1) },
  { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
)

function laidOut(parts: readonly Part[], name: string, { end, line, before }: Layout): Uint8Array {
  const all = parts.flatMap(({ head, body }) => [
    bytes(`--${name}${line}${head}${line}${line}`),
    body,
    bytes(line),
  ])
  return Buffer.concat([bytes(before), ...all, bytes(`--${name}${end}`)])
}

/** A PNG of one colour, so many pixels wide and high. */
function pictureOf(size: number): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const named = Buffer.concat([bytes(type), data])
    const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(data.length)
    checksum.writeUInt32BE(crc32(named))
    return Buffer.concat([length, named, checksum])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(size, 0)
  header.writeUInt32BE(size, 4)
  header.set([8, 2], 8)
  const rows = deflateSync(Buffer.alloc(size * (1 + 3 * size), 0x7f).fill(0, 0, 1))
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    chunk('IHDR', header),
    chunk('IDAT', rows),
    chunk('IEND', Buffer.alloc(0)),
  ])
}
