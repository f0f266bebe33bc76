/** What requests under /v1 may hold; in a form all of it is text. */
import * as v from 'valibot'
import { JobId, type JobStatus, type VideoDraft, type VideoSize } from '../../domain/job.ts'
import { type WanTask, wanTasks } from '../../domain/wan-tasks.ts'
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
  stands,
  upTo30,
  WebhookUrl,
  webhookIn,
  wholeNumber,
} from '../request/fields.ts'

export const modelOf = (task: WanTask): string => `wan2.2-${task.toLowerCase()}`

export const VideoId = v.pipe(
  v.string(),
  v.regex(/^video_[\da-f-]{36}$/, 'must be the id of a video'),
  v.transform((id) => id.slice('video_'.length)),
  JobId,
)

const numberInText = (schema: v.GenericSchema<number, number>) =>
  v.pipe(
    v.unknown() as v.GenericSchema<number | string>,
    stands({ type: ['number', 'string'], description: 'a number, or its text' }),
    v.transform((value): unknown =>
      typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value,
    ),
    schema as v.GenericSchema<unknown, number>,
  )

const secondsRule = 'must be a number of seconds, like "5"'
const Seconds = numberInText(v.pipe(v.number(secondsRule), v.gtValue(0, secondsRule)))

/** `1280*720`, as the model has it, is the same. */
const sizeOf = (sizes: readonly VideoSize[]) =>
  v.pipe(
    v.string('must be text'),
    stands({ enum: sizes }),
    v.transform((size) => size.replace('*', 'x')),
    v.picklist(sizes, `must be ${sizes.join(' or ')}`),
  )

/** Clients send prompts of several lines; to the model a line break is a space. */
const PromptOfLines = v.pipe(
  v.string('must be text'),
  v.transform((text) => text.replace(/[\r\n\t\u2028\u2029]+/g, ' ')),
  Prompt,
)

const modelName = (task: WanTask) =>
  v.picklist([modelOf(task), task], `must be ${modelOf(task)}, or left out`)

/** The body of `POST /v1/videos`. */
export function createVideoSchema(
  task: WanTask,
  maxFrames: number,
  refuseUrl: RefuseUrl,
  refuseNegativePrompt: RefuseNegativePrompt,
) {
  const { frames, steps, fps, sizes } = wanTasks[task]
  return v.pipe(
    v.strictObject(
      {
        prompt: PromptOfLines,
        negative_prompt: v.optional(negativePromptOf(PromptOfLines, refuseNegativePrompt)),
        model: v.optional(modelName(task)),
        size: v.optional(sizeOf(sizes)),
        seconds: v.optional(Seconds),
        num_frames: v.optional(numberInText(frameCount(maxFrames))),
        seed: v.optional(numberInText(wholeNumber(0, Number.MAX_SAFE_INTEGER))),
        num_inference_steps: v.optional(numberInText(wholeNumber(1, 200)), steps),
        guidance_scale: v.optional(numberInText(upTo30)),
        flow_shift: v.optional(numberInText(upTo30)),
        input_reference: imageFor(task),
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
    v.rawTransform(({ dataset, addIssue, NEVER }): VideoDraft => {
      const { value } = dataset
      const { prompt, seconds, seed, guidance_scale, flow_shift, input_reference } = value
      const asked = seconds === undefined ? undefined : Math.round((seconds * fps) / 4) * 4 + 1
      if (asked !== undefined && (asked < 5 || asked > maxFrames)) {
        const [least, most] = [4 / fps, (maxFrames - 1) / fps].map((limit) => limit.toFixed(2))
        refuseSeconds(`must be from ${least} to ${most}`)
        return NEVER
      }
      if (asked !== undefined && value.num_frames !== undefined && asked !== value.num_frames) {
        refuseSeconds(`are ${asked} frames, but num_frames says ${value.num_frames}`)
        return NEVER
      }
      const image = input_reference?.image
      return {
        prompt,
        ...(value.negative_prompt !== undefined && { negativePrompt: value.negative_prompt }),
        size: value.size ?? (image && image.width > image.height ? '1280x720' : '720x1280'),
        frames: value.num_frames ?? asked ?? frames,
        steps: value.num_inference_steps,
        ...(seed !== undefined && { seed }),
        ...(guidance_scale !== undefined && { guidance: guidance_scale }),
        ...(flow_shift !== undefined && { shift: flow_shift }),
        ...(image && { image }),
        ...(value.metadata && { metadata: value.metadata }),
        ...webhookIn(value, 'openai'),
      }

      function refuseSeconds(message: string): void {
        const path = {
          type: 'object',
          origin: 'value',
          input: value,
          key: 'seconds',
          value: seconds,
        }
        addIssue({ message, path: [path as v.ObjectPathItem] })
      }
    }),
  )
}

/** Where an image may stand in the place of the file itself. */
export const ImageReference = v.strictObject(
  {
    file_id: v.optional(v.never('is not supported: send the image itself, or as a data URL')),
    image_url: v.pipe(
      v.string('must be text'),
      v.regex(
        /^data:image\/[\w.+-]+;base64,[\w+/]+={0,2}$/,
        'must be a data URL of an image in Base64: this service fetches nothing from elsewhere',
      ),
    ),
  },
  issueMessage,
)

export const RemixBody = v.strictObject({ prompt: PromptOfLines }, issueMessage)

const wholeNumberText = (min: number, max: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,15}$/, `must be a whole number from ${min} to ${max}`),
    stands({ type: 'integer', minimum: min, maximum: max, pattern: undefined }),
    v.toNumber(),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  )

const SomeText = v.pipe(v.string(), v.trim(), v.nonEmpty('must not be empty'))

/** A status of theirs is one or two of ours. */
const statuses: Readonly<Record<string, readonly JobStatus[]>> = {
  queued: ['queued'],
  in_progress: ['running'],
  completed: ['success'],
  failed: ['error', 'canceled'],
}

const unixSeconds = v.pipe(
  wholeNumberText(0, 99_999_999_999),
  v.transform((seconds) => seconds * 1_000),
)

export const listVideosQuery = (task: WanTask) =>
  v.strictObject(
    {
      limit: v.optional(wholeNumberText(0, 100), '20'),
      order: v.optional(v.picklist(['asc', 'desc'], 'must be asc or desc'), 'desc'),
      after: v.optional(VideoId),
      status: v.optional(
        v.pipe(
          v.picklist(Object.keys(statuses), `must be ${Object.keys(statuses).join(' or ')}`),
          v.transform((status) => statuses[status] ?? []),
        ),
      ),
      model: v.optional(modelName(task)),
      prompt: v.optional(SomeText),
      prompt_contains: v.optional(SomeText),
      created_after: v.optional(unixSeconds),
      created_before: v.optional(unixSeconds),
    },
    issueMessage,
  )

const variants = ['video', 'thumbnail', 'spritesheet'] as const

export const ContentQuery = v.strictObject(
  {
    variant: v.optional(v.picklist(variants, `must be ${variants.join(' or ')}`), 'video'),
  },
  issueMessage,
)
