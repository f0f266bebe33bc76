/** What requests may hold: one schema gives the type, the parser and the message of refusal. */
import * as v from 'valibot'
import type { FinishedStatus } from '../actors/ports.ts'
import { Filename } from '../filename.ts'
import { GpuId, JobId, jobStatuses, type VideoDraft } from '../job.ts'
import { type WanTask, wanTasks } from '../wan-tasks.ts'
import { DeliveryId, jobEvents, ownEvents, WebhookId } from '../webhook.ts'
import { type Fields, ReceivedImage } from './form.ts'

/** For the document: in an address all is text, and this is what it means. */
export const stands = <Input>(meaning: Readonly<Record<string, unknown>>) =>
  v.metadata<Input, typeof meaning>(meaning)

/** As OpenAI's API has it; well under what fits into one argument of a process. */
const longestPrompt = 32_000

export const Prompt = v.pipe(
  v.string('must be text'),
  v.description('One line, not beginning with `--`. Wan2.2 reads no more than 512 tokens of it.'),
  v.check((text) => text.isWellFormed(), 'must be valid Unicode (it has a lone surrogate)'),
  v.maxLength(longestPrompt, `must be at most ${longestPrompt} characters long`),
  v.check(
    (text) => !/[\p{Cc}\u2028\u2029]/u.test(text),
    'must be one line without line breaks, tabs or control characters',
  ),
  v.trim(),
  v.nonEmpty('must not be empty'),
  v.check((text) => !text.startsWith('--'), 'must not begin with "--"'),
)

export const wholeNumber = (min: number, max: number) => {
  const rule = `must be a whole number from ${min} to ${max}`
  return v.pipe(v.number(rule), v.safeInteger(rule), v.minValue(min, rule), v.maxValue(max, rule))
}

const upTo30Rule = 'must be a number from 0 to 30'
export const upTo30 = v.pipe(
  v.number(upTo30Rule),
  v.minValue(0, upTo30Rule),
  v.maxValue(30, upTo30Rule),
  v.description('Left out: what the task would take.'),
)

export const frameCount = (maxFrames: number) =>
  v.pipe(
    wholeNumber(5, maxFrames),
    v.description('4n+1, like 81 or 121'),
    v.check(
      (count) => count % 4 === 1,
      'must be 4n+1, like 81 or 121: the model makes no other count',
    ),
  )

const Image = v.pipe(
  v.instance(ReceivedImage, 'must be a file, sent as multipart/form-data'),
  v.metadata({
    description: 'JPEG, PNG or WebP; only in a form',
    contentMediaType: 'application/octet-stream',
  }),
)

/** Whether there may be an image, or must be one, is up to the model. */
export function imageFor(task: WanTask): v.GenericSchema<ReceivedImage | undefined> {
  switch (wanTasks[task].image) {
    case 'never':
      return v.optional(v.custom<ReceivedImage>(() => false, `is not possible: ${task} takes none`))
    case 'perhaps':
      return v.optional(Image)
    case 'always':
      return Image
  }
}

export const issueMessage = (issue: { expected: string | null; received: string }): string =>
  issue.expected === 'never'
    ? 'is not a known field'
    : issue.received === 'undefined'
      ? 'is required'
      : 'must be an object'

/** Why nothing may be sent to this URL; `undefined`: something may. */
export type RefuseUrl = (url: string) => string | undefined

export const WebhookUrl = (refuse: RefuseUrl) =>
  v.pipe(
    v.string('must be text'),
    v.maxLength(2_000, 'must be at most 2000 characters long'),
    v.rawCheck(({ dataset, addIssue }) => {
      const message = dataset.typed ? refuse(dataset.value) : undefined
      if (message !== undefined) addIssue({ message })
    }),
  )

const secretRule = 'must be "whsec_" and 24 to 64 bytes in base64'
export const Secret = v.pipe(
  v.string(secretRule),
  v.regex(/^whsec_(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, secretRule),
  v.check((text) => {
    const { length } = Buffer.from(text.slice('whsec_'.length), 'base64')
    return length >= 24 && length <= 64
  }, secretRule),
)

type WebhookFields = Readonly<{
  webhook_url?: string | undefined
  webhook_secret?: string | undefined
}>

export const secretHasUrl = ({ webhook_url, webhook_secret }: WebhookFields): boolean =>
  webhook_secret === undefined || webhook_url !== undefined
export const secretRuleOfUrl = 'is for a webhook_url, and there is none'

/** What these two fields say, in a draft. */
export const webhookIn = (
  { webhook_url: url, webhook_secret: secret }: WebhookFields,
  words: NonNullable<VideoDraft['webhook']>['words'],
): Pick<VideoDraft, 'webhook'> =>
  url === undefined ? {} : { webhook: { url, words, ...(secret && { secret }) } }

type Notes = Readonly<Record<string, string>>
const notes = { most: 16, longestName: 64, longestText: 512 } as const
const notesRule =
  `must be an object of at most ${notes.most} texts, each of at most ${notes.longestText} characters ` +
  `under a name of 1 to ${notes.longestName}`

/** What clients note on a job for themselves; in a form it may be JSON. */
export const Metadata = v.pipe(
  v.unknown() as v.GenericSchema<Notes | string>,
  v.transform((given): unknown => fromJsonText(given)),
  v.custom<Notes>(areNotes, notesRule),
  stands({
    type: 'object',
    maxProperties: notes.most,
    propertyNames: { minLength: 1, maxLength: notes.longestName },
    additionalProperties: { type: 'string', maxLength: notes.longestText },
    description: 'Notes of the client’s own, which mean nothing to the service.',
  }),
)

function areNotes(given: unknown): boolean {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return false
  const entries = Object.entries(given)
  return (
    entries.length <= notes.most &&
    entries.every(
      ([name, text]) =>
        name !== '' &&
        name.length <= notes.longestName &&
        typeof text === 'string' &&
        text.length <= notes.longestText,
    )
  )
}

/** Objects may come as text in a form. */
export function fromJsonText(given: unknown): unknown {
  if (typeof given !== 'string') return given
  try {
    return JSON.parse(given)
  } catch {
    return given
  }
}

/** In a form numbers are text. */
export function withNumbers(form: Fields): Fields {
  const toNumber = ([name, value]: [string, unknown]) => {
    const isNumber = typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value)
    return [name, numberFields.includes(name) && isNumber ? Number(value) : value]
  }
  return Object.fromEntries(Object.entries(form).map(toNumber))
}

const numberFields = ['seed', 'steps', 'guidance', 'shift', 'frames']

/** The body of `POST /generate`. What is left out gets the task's own default. */
export function generateSchema(task: WanTask, maxFrames: number, refuseUrl: RefuseUrl) {
  const { steps, frames, sizes } = wanTasks[task]
  return v.pipe(
    v.strictObject(
      {
        prompt: Prompt,
        size: v.picklist(sizes, `must be ${sizes.join(' or ')}`),
        filename: v.optional(Filename),
        seed: v.optional(
          v.pipe(
            wholeNumber(0, Number.MAX_SAFE_INTEGER),
            v.description('Left out: chosen at random.'),
          ),
        ),
        steps: v.optional(wholeNumber(1, 200), steps),
        guidance: v.optional(upTo30),
        shift: v.optional(upTo30),
        frames: v.optional(frameCount(maxFrames), frames),
        image: imageFor(task),
        metadata: v.optional(Metadata),
        webhook_url: v.optional(WebhookUrl(refuseUrl)),
        webhook_secret: v.optional(Secret),
      },
      issueMessage,
    ),
    v.forward(
      v.check((fields) => secretHasUrl(fields), secretRuleOfUrl),
      ['webhook_secret'],
    ),
    v.transform(
      ({
        filename,
        seed,
        guidance,
        shift,
        image,
        metadata,
        webhook_url,
        webhook_secret,
        ...rest
      }): VideoDraft => ({
        ...rest,
        ...(filename !== undefined && { filename }),
        ...(seed !== undefined && { seed }),
        ...(guidance !== undefined && { guidance }),
        ...(metadata && { metadata }),
        ...webhookIn({ webhook_url, webhook_secret }, 'own'),
        ...(shift !== undefined && { shift }),
        ...(image && { image: image.image }),
      }),
    ),
  )
}

/** The body of `POST /webhook`. */
export const webhookSchema = (refuseUrl: RefuseUrl) =>
  v.pipe(
    v.strictObject(
      {
        url: WebhookUrl(refuseUrl),
        events: v.optional(
          v.pipe(
            v.array(
              v.picklist(jobEvents, `must be among ${jobEvents.join(', ')}`),
              'must be a list',
            ),
            v.minLength(1, 'must name at least one'),
            v.maxLength(jobEvents.length, 'must name each once'),
          ),
          [...ownEvents],
        ),
        secret: v.optional(Secret),
      },
      issueMessage,
    ),
    v.transform(({ url, events, secret }) => ({ url, events, ...(secret && { secret }) })),
  )

export const RotateBody = v.strictObject({ secret: v.optional(Secret) }, issueMessage)

export const WebhookParam = v.pipe(v.string(), v.uuid('must be a UUID'), WebhookId)

export const DeliveryParam = v.pipe(
  v.string(),
  v.regex(/^evt_[0-9a-f]{32}$/, 'must be the id of a delivery, like evt_0123…'),
  DeliveryId,
)

export const IdParam = v.pipe(v.string(), v.uuid('must be a UUID'), JobId)

const atMost = 400

const commaSeparated = (items: Readonly<Record<string, unknown>>) =>
  v.pipe(
    v.string(),
    stands({ type: 'array', items, minItems: 1, maxItems: atMost }),
    v.transform((list) =>
      list
        .split(',')
        .map((entry) => entry.trim())
        .filter(Boolean),
    ),
    v.minLength(1, 'must name at least one'),
    v.maxLength(atMost, `must name at most ${atMost}: more do not fit into an address`),
  )
const Ids = v.pipe(commaSeparated({ type: 'string', format: 'uuid' }), v.array(IdParam))
const Names = commaSeparated({ type: 'string' })
const Statuses = v.pipe(
  commaSeparated({ type: 'string', enum: jobStatuses }),
  v.array(v.picklist(jobStatuses, `must be among ${jobStatuses.join(', ')}`)),
)
const flag = v.pipe(
  v.picklist(['true', 'false'], 'must be true or false'),
  stands({ type: 'boolean', enum: undefined }),
  v.transform((text) => text === 'true'),
)
const limit = (max: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,9}$/, `must be a whole number from 1 to ${max}`),
    stands({ type: 'integer', minimum: 1, maximum: max, pattern: undefined }),
    v.toNumber(),
    v.minValue(1, `must be at least 1`),
    v.maxValue(max, `must be at most ${max}`),
  )

const unknownParameter = (issue: { expected: string | null }) =>
  issue.expected === 'never' ? 'is not a known parameter' : 'is required'

/** Exactly one way to say what is meant, so that nothing is deleted by a slip. */
const sayWhich = (...given: unknown[]): boolean =>
  given.filter((value) => value !== undefined && value !== false).length === 1

export const DeleteJobsQuery = v.pipe(
  v.strictObject(
    {
      ids: v.optional(Ids),
      all: v.optional(flag),
      status: v.optional(Statuses),
      delete_files: v.optional(flag, 'false'),
    },
    unknownParameter,
  ),
  v.check(
    ({ ids, all, status }) => sayWhich(ids, all, status),
    'say which: ids, all=true or status',
  ),
)

export const DeleteVideosQuery = v.pipe(
  v.strictObject(
    {
      filenames: v.optional(Names),
      ids: v.optional(Ids),
      all: v.optional(flag),
    },
    unknownParameter,
  ),
  v.check(
    ({ filenames, ids, all }) => sayWhich(filenames, ids, all),
    'say which: filenames, ids or all=true',
  ),
)

/** Well under the idle time after which a proxy gives up on a silent connection. */
const longestWait = 'must be a whole number of seconds from 0 to 60'

export const StatusQuery = v.strictObject(
  {
    wait: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^\d{1,9}$/, longestWait),
        stands({ type: 'integer', minimum: 0, maximum: 60, pattern: undefined }),
        v.toNumber(),
        v.maxValue(60, longestWait),
      ),
      '0',
    ),
  },
  unknownParameter,
)

export const ListQuery = v.strictObject(
  {
    status: v.optional(Statuses),
    order: v.optional(v.picklist(['asc', 'desc'], 'must be asc or desc'), 'desc'),
    limit: v.optional(limit(200), '50'),
    after: v.optional(IdParam),
    pinned: v.optional(flag),
  },
  unknownParameter,
)

export const DeliveriesQuery = v.strictObject(
  { limit: v.optional(limit(200), '50'), after: v.optional(DeliveryParam) },
  unknownParameter,
)

export const VideosQuery = v.omit(ListQuery, ['status'])

/** Of what the past has been like; a week is read in a moment. */
export const StatsQuery = v.strictObject({ hours: v.optional(limit(168), '24') }, unknownParameter)

export const OutcomesQuery = v.strictObject(
  { limit: v.optional(limit(500), '200') },
  unknownParameter,
)

export const LookupQuery = v.strictObject(
  {
    prompt: v.pipe(v.string(), v.trim(), v.nonEmpty('must not be empty')),
    all: v.optional(flag, 'false'),
  },
  unknownParameter,
)

export const GpuParam = v.pipe(
  v.string(),
  v.regex(/^\d{1,6}$/, 'must be a number'),
  stands({ type: 'integer', minimum: 0, pattern: undefined }),
  v.toNumber(),
  GpuId,
)

const finishedStatuses = ['success', 'error', 'canceled'] as const satisfies FinishedStatus[]

const daysRule = 'must be a number from 0 to 36500'
const dayMs = 24 * 60 * 60 * 1000

/** What is to be purged; without a word about it, nothing but a count of everything. */
export const PurgeBody = v.pipe(
  v.strictObject(
    {
      dry_run: v.optional(v.boolean('must be true or false'), true),
      older_than_days: v.optional(
        v.pipe(
          v.number(daysRule),
          v.minValue(0, daysRule),
          v.maxValue(36_500, daysRule),
          v.description('since they ended; a part of a day is possible'),
        ),
      ),
      status: v.optional(
        v.pipe(
          v.array(
            v.picklist(finishedStatuses, `must be among ${finishedStatuses.join(', ')}`),
            'must be a list',
          ),
          v.minLength(1, 'must name at least one'),
          v.maxLength(finishedStatuses.length, 'must name each once'),
        ),
      ),
      max_bytes: v.optional(
        v.pipe(
          wholeNumber(0, Number.MAX_SAFE_INTEGER),
          v.description('the oldest videos, until all that are left take at most so much'),
        ),
      ),
    },
    issueMessage,
  ),
  v.check(
    ({ dry_run, older_than_days, status, max_bytes }) =>
      dry_run || [older_than_days, status, max_bytes].some((said) => said !== undefined),
    'say what goes: older_than_days, status or max_bytes',
  ),
  v.transform(({ dry_run, older_than_days, status, max_bytes }) => ({
    dryRun: dry_run,
    ...(older_than_days !== undefined && { olderThanMs: older_than_days * dayMs }),
    ...(status && { status }),
    ...(max_bytes !== undefined && { maxBytes: max_bytes }),
  })),
)

/** What becomes of the job when an operator restarts a GPU's actor. */
export const RestartBody = v.strictObject(
  {
    job: v.optional(
      v.picklist(['adopt', 'requeue', 'fail'], 'must be adopt, requeue or fail'),
      'adopt',
    ),
  },
  () => 'is not a known field',
)
