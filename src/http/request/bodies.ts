/** What the bodies of requests may hold. */

import * as v from 'valibot'
import type { FinishedStatus } from '../../actors/janitor/janitor-ports.ts'
import { Filename } from '../../domain/filename.ts'
import type { VideoDraft } from '../../domain/job.ts'
import { dayMs } from '../../domain/time.ts'
import { type WanTask, wanTasks } from '../../domain/wan-tasks.ts'
import { jobEvents, ownEvents } from '../../domain/webhook.ts'
import {
  frameCount,
  imageFor,
  issueMessage,
  Metadata,
  negativePromptOf,
  Prompt,
  type RefuseNegativePrompt,
  type RefuseUrl,
  Secret,
  secretHasUrl,
  secretRuleOfUrl,
  upTo30,
  WebhookUrl,
  webhookIn,
  wholeNumber,
} from './fields.ts'

/** The body of `POST /generate`. What is left out gets the task's own default. */
export function generateSchema(
  task: WanTask,
  maxFrames: number,
  refuseUrl: RefuseUrl,
  refuseNegativePrompt: RefuseNegativePrompt,
) {
  const { steps, frames, sizes } = wanTasks[task]
  return v.pipe(
    v.strictObject(
      {
        prompt: Prompt,
        negative_prompt: v.optional(negativePromptOf(Prompt, refuseNegativePrompt)),
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
        negative_prompt,
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
        ...(negative_prompt !== undefined && { negativePrompt: negative_prompt }),
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

const finishedStatuses = ['success', 'error', 'canceled'] as const satisfies FinishedStatus[]

const daysRule = 'must be a number from 0 to 36500'

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
