/** The kinds of values that environment variables have, and how each is parsed. */
import * as v from 'valibot'
import { parseAllowed } from '../domain/address-guard.ts'

export const wholeNumber = (min: number, max: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d+$/, 'must be a whole number'),
    v.toNumber(),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  )

/** Also with a decimal point. */
export const amount = (max: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d+(\.\d+)?$/, 'must be a number, like 30 or 0.5'),
    v.toNumber(),
    v.maxValue(max, `must be at most ${max}`),
  )

export const path = v.pipe(v.string(), v.nonEmpty('must not be empty'))

export const commaSeparated = v.pipe(
  v.string(),
  v.transform((list) => list.split(',').map((entry) => entry.trim())),
)

const notAnArray = 'must be a JSON array of strings, like ["--t5_cpu"]'
const Strings = v.array(v.string())

/** One fault however many of its entries are wrong. */
export const jsonArray = v.pipe(
  v.string(),
  v.parseJson(undefined, notAnArray),
  v.custom<v.InferOutput<typeof Strings>>((value) => v.is(Strings, value), notAnArray),
)

export const onOrOff = v.pipe(
  v.picklist(['0', '1'], 'must be 0 or 1'),
  v.transform((value) => value === '1'),
)

export const url = v.pipe(
  v.string(),
  v.url('must be a URL, like https://videos.example.org'),
  v.transform((text) => text.replace(/\/+$/, '')),
)

/** Other nodes put the path of a request behind it. It is in the log and in `GET /nodes`, so it must hold no password. */
export const nodeUrl = v.pipe(
  url,
  v.check((text) => {
    const { protocol, origin, href } = new URL(text)
    return /^https?:$/.test(protocol) && href === `${origin}/`
  }, 'must be http or https, a host and a port, like http://gpu-1.lan:8080, without user and path'),
)

export const postgresUrl = v.pipe(
  v.string(),
  // The value is not repeated: it may have a password in it.
  v.check((text) => {
    const { protocol, pathname } = URL.parse(text) ?? {}
    return /^postgres(?:ql)?:$/.test(protocol ?? '') && /^\/./.test(pathname ?? '')
  }, 'must be a URL with the name of a database, like postgres://user:password@host/wan'),
)

export const addresses = v.pipe(
  commaSeparated,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const entries = dataset.value.filter(Boolean)
    const wrong = entries.filter((entry) => !parseAllowed(entry))
    for (const entry of wrong)
      addIssue({ message: `must hold hosts, addresses or ranges like 10.0.0.0/8, not "${entry}"` })
    return wrong.length > 0 ? NEVER : entries.flatMap((entry) => parseAllowed(entry) ?? [])
  }),
)

export const origins = v.pipe(
  commaSeparated,
  v.check(
    (list) => list.every((entry) => entry === '*' || URL.parse(entry)?.origin === entry),
    'must be * or origins like https://app.example.org, with nothing behind the host',
  ),
)

export const hostNames = v.pipe(
  commaSeparated,
  v.check(
    (list) => list.every((entry) => entry === '*' || isHostName(entry)),
    'must be * or host names like gpu.example.lan, without scheme and port',
  ),
)

const isHostName = (entry: string): boolean =>
  /^[^:/?#@\\\s]+$/.test(entry) && URL.canParse(`http://${entry}`)
