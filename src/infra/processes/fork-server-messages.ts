/** What `fork_server.py` says, one JSON object per line. */
import * as v from 'valibot'

const Pong = v.object({ id: v.number(), pong: v.literal(true) })
const Ready = v.object({ ready: v.literal(true) })
const Begun = v.object({
  id: v.number(),
  pid: v.number(),
  start: v.number(),
  /** Template that forked it. */
  from: v.optional(v.number()),
  /** Before it was ordered. */
  standby: v.optional(v.literal(true)),
  /** Reason why the template did not. */
  why: v.optional(v.string()),
})
const NotBegun = v.object({ id: v.number(), error: v.nullable(v.string()), message: v.string() })
const Ended = v.object({
  id: v.number(),
  code: v.nullable(v.number()),
  signal: v.nullable(v.string()),
  unreaped: v.optional(v.number(), 0),
  stdout: v.optional(v.string(), ''),
  stderr: v.optional(v.string(), ''),
})

/** News of a template. `stale`: a file has changed since it was loaded. */
const TemplateNews = v.variant('template', [
  v.object({
    id: v.number(),
    template: v.literal('ready'),
    tookMs: v.number(),
    /** Memory that only this process has, and memory that is mapped from files. */
    privateBytes: v.number(),
    sharedBytes: v.number(),
    /** How long it has for a fork, after which it is killed. */
    answerMs: v.number(),
  }),
  v.object({ id: v.number(), template: v.picklist(['failed', 'stale']), why: v.string() }),
])
export type TemplateNews = v.InferOutput<typeof TemplateNews>

export type Begun = v.InferOutput<typeof Begun>

/** Not everything on its stdout need be: a wrapper around Python may have something to say there. */
export const Said = v.pipe(
  v.string(),
  v.parseJson(),
  v.union([Begun, Ended, NotBegun, Pong, Ready, TemplateNews]),
)
