/** What addresses may hold: parameters in paths and queries. */
import * as v from 'valibot'
import { GpuId, JobId, jobStatuses } from '../../domain/job.ts'
import { NodeName } from '../../domain/node.ts'
import { DeliveryId, WebhookId } from '../../domain/webhook.ts'
import { stands } from './fields.ts'

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
const maxWait = 'must be a whole number of seconds from 0 to 60'

export const StatusQuery = v.strictObject(
  {
    wait: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^\d{1,9}$/, maxWait),
        stands({ type: 'integer', minimum: 0, maximum: 60, pattern: undefined }),
        v.toNumber(),
        v.maxValue(60, maxWait),
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

/** In capitals it is the same node. */
export const NodeParam = v.pipe(NodeName, stands({ type: 'string' }))
