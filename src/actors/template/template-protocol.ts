import type { Caused } from '../../domain/client.ts'
import type { RefusalError } from '../../domain/errors.ts'
import type { Observation } from '../../domain/observation.ts'
import type { AnswerEffect, Asks } from '../actor.ts'

/** `auto`: on if there is memory for it and a probe has succeeded. `on`: needs neither. */
export const warmStarts = ['auto', 'on', 'off'] as const
export type WarmStart = (typeof warmStarts)[number]

/** A template that has loaded. */
export type TemplateFacts = Readonly<{
  tookMs: number
  /** Memory that only it has, and memory that is mapped from files. */
  privateBytes: number
  sharedBytes: number
}>

/** News of a template, each with its number: those of an earlier one are dropped. */
export type TemplateEvent = Readonly<{ build: number }> &
  Readonly<
    /** The queue gives it a turn among the loads. */
    | { type: 'turnCame' }
    | { type: 'turnDue' }
    | { type: 'loaded'; facts: TemplateFacts }
    | { type: 'notLoaded'; why: string }
    /** A file has changed since it was loaded. */
    | { type: 'outOfDate'; why: string }
    | { type: 'ended'; why: string }
    /** `why`: a fork could not use the GPU. `isForkFault`: nothing but a fork fails so there. */
    | { type: 'probed'; why?: string; isForkFault?: boolean }
    | { type: 'buildDue' }
    /** No generation was forked for a while, if there were no more than `starts` meanwhile. */
    | { type: 'idleDue'; starts: number }
    | { type: 'memoryShort' }
  >

export type TemplateMessage =
  | TemplateEvent
  | Readonly<
      /** A generation was asked for. `warm`: it was forked from the template; `standby`: ahead of time. */
      | { type: 'generationStarted'; start: 'warm' | 'cold'; why?: string; standby?: true }
      /** A generation has come to its end: its GPU works. */
      | { type: 'generationCompleted' }
      /** A generation has failed in a way in which only a fork can. */
      | { type: 'forkFailed'; why: string }
      /** Builds another one now, also where forks did not work. */
      | ({ type: 'reload' } & Caused & Asks<TemplateView | RefusalError>)
      | ({ type: 'describe' } & Asks<TemplateView>)
    >

export const templatePhases = [
  'off',
  'building',
  'probing',
  'ready',
  'failed',
  'dropped',
] as const satisfies readonly TemplatePhase['phase'][]

export type TemplatePhase = Readonly<
  | { phase: 'off'; why: string }
  /** It loads, or waits for its turn among the loads. */
  | { phase: 'building'; why: string }
  /** It has loaded, and waits for an idle GPU or the end of its probe. */
  | { phase: 'probing'; facts: TemplateFacts }
  | { phase: 'ready'; facts: TemplateFacts }
  /** It is built again later. */
  | { phase: 'failed'; why: string }
  /** It was dropped to give its memory back. The next generation has it built again. */
  | { phase: 'dropped'; why: string }
>

export type TemplateState = TemplatePhase &
  Readonly<{
    warmStart: WarmStart
    /** Time without a generation after which it may be dropped; 0: never. */
    idleMs: number
    /** Number of the current or the last template. */
    build: number
    /** It has had its turn among the loads. */
    isLoading: boolean
    /** Failures in a row. */
    failures: number
    /** The next step if its probe fails: `retry` once, when a generation shows that the GPU works. */
    afterProbe: 'retry' | 'retryDue' | 'giveUp'
    /** Number of generations that were forked from the current or the last template. */
    starts: number
  }>

/** `canReload`: there can be one here. */
export type TemplateView = TemplatePhase & Readonly<{ starts: number; canReload: boolean }>

export type TemplateEffect =
  | AnswerEffect
  | Readonly<
      /** turnCame, when another load may begin */
      | { do: 'askTurn'; build: number }
      | { do: 'endTurn'; build: number }
      | { do: 'build'; build: number }
      | { do: 'probe'; build: number }
      | { do: 'use' }
      | { do: 'end' }
      /** The event arrives after this time. */
      | { do: 'expect'; event: TemplateEvent; afterMs: number }
      /** memoryShort, if it is */
      | { do: 'checkMemory'; build: number }
      | { do: 'log'; level: 'info' | 'warn'; fields: object; phrase: string }
      | { do: 'observe'; observation: Observation }
    >
