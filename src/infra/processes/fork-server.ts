/** Our side of `fork_server.py`: the small process that starts others, because we are slow at it. */
import { join } from 'node:path'
import { type End, endByKill, type Life, launch, type ShimStarted } from './fork-server-life.ts'
import type { TemplateNews } from './fork-server-messages.ts'
import { killAndWait } from './process-table.ts'
import type { StartTool, ToolEnd, ToolRun } from './tool.ts'
import { killUnreported, toolMark } from './unreported-tools.ts'

/** What became of a shim. `unwatched`: whoever could have told has ended first. */
export type ShimEnd =
  | { how: 'cannotStart'; why: string }
  /** `unreaped`: number of its descendants that have survived SIGKILL. */
  | { how: 'ended'; signal: string | null; unreaped: number }
  | { how: 'unwatched' }

export type ForkServer = Readonly<{
  /** Starts it before it is needed. Whenever it is needed and not there, it is started again. */
  warmUp(): void
  /** Starts a shim that outlives us and the fork server. Resolves when it has ended. */
  startShim(attemptDir: string, env: NodeJS.ProcessEnv, how?: ShimStart): Promise<ShimEnd>
  /** Starts a template. It ends with the fork server, and so with us. */
  startTemplate(order: TemplateOrder, onNews: (news: TemplateNews) => void): TemplateRun
  /** Starts a tool. If the fork server ends before it, the tool is killed and started once more. */
  startTool: StartTool
  /** The shims stay. */
  close(): Promise<void>
}>

/** With a template, the shim is forked from it if it can be. `onStarted`: whether it was. */
export type ShimStart = Readonly<{
  template?: TemplateRun | undefined
  onStarted?: (started: ShimStarted) => void
}>

export type TemplateOrder = Readonly<{
  python: string
  /** Argument of `template.py`. */
  setup: object
  env: NodeJS.ProcessEnv
  /** Whether the next shim is forked before it is ordered. */
  hasStandby: boolean
}>

/** A process that has loaded, for shims to be forked from. */
export type TemplateRun = Readonly<{
  id: number
  ended: Promise<ToolEnd>
  /** Starts a process that uses a GPU as a generation would. */
  startProbe(env: NodeJS.ProcessEnv): ToolRun
  kill(): void
}>

const templateScript = join(import.meta.dirname, 'template.py')

/** To fork takes a millisecond: when there is no answer by then, something holds it up for good. */
const usualAnswerMs = 5_000

/** How often it must answer while something runs that it started. */
const usualPingMs = 5_000

/** Killed so often before it was ready, it is not by chance: Python itself crashes. */
const maxStillborn = 5

export function createForkServer(
  python: string,
  { answerMs = usualAnswerMs, pingMs = usualPingMs } = {},
): ForkServer {
  let server: Life | undefined
  let stillborn = 0
  /** By template: the life of the fork server that knows it, and its time for a fork. */
  const lives = new WeakMap<TemplateRun, { life: Life; answerMs: number }>()
  const running = () => {
    server ??= launch(python, { answerMs, pingMs }, ({ wasReady, wasKilled }) => {
      server = undefined
      stillborn = wasReady ? 0 : stillborn + 1
      return wasReady || (wasKilled && stillborn < maxStillborn)
    })
    return server
  }

  return {
    warmUp() {
      try {
        running()
      } catch {
        // No memory for it now: the first order tries again, and learns why.
      }
    },
    startShim(attemptDir, env, { template, onStarted } = {}) {
      const life = running()
      const known = template && lives.get(template)
      const from = template && known?.life === life ? { from: template.id } : {}
      return life.start({ shim: attemptDir, env, ...from }, { onStarted }, known?.answerMs).ended
    },
    startTemplate({ python, setup, env, hasStandby }, onNews) {
      const life = running()
      const argv = [python, templateScript, JSON.stringify(setup)]
      const known = { life, answerMs: 0 }
      const order = { template: argv, env, standby: hasStandby }
      const { id, ended, kill } = life.start(order, { onNews: hear })
      const startProbe = (env: NodeJS.ProcessEnv) =>
        toolOf(life.start({ probe: id, env }, {}, known.answerMs))
      const template = { id, ended: ended.then(endOnce), kill, startProbe }
      lives.set(template, known)
      return template

      function hear(news: TemplateNews): void {
        if (news.template === 'ready') known.answerMs = news.answerMs
        onNews(news)
      }
    },
    startTool(argv, env, maxBytes) {
      const mark = crypto.randomUUID()
      const order = { tool: argv, env: { ...env, ...toolMark(mark) } }
      const begin = () => running().start({ ...order, ...(maxBytes && { maxBytes }) })
      let run = begin()
      let isKilled = false
      return {
        ended: end(),
        kill() {
          isKilled = true
          run.kill()
        },
        leave: () => {},
      }

      /** The end of a fork server says nothing about its tools. */
      async function end(): Promise<ToolEnd> {
        const first = await endWatched(await run.ended, mark)
        if (first) return first
        if (isKilled) return endByKill
        run = begin()
        return (await endWatched(await run.ended, mark)) ?? endByKill
      }
    },
    close: async () => server?.close(),
  }
}

/** Neither a template nor a probe is started again by itself. */
const endOnce = (end: End): ToolEnd => (end.how === 'unwatched' ? endByKill : end)

const toolOf = ({ ended, kill }: ReturnType<Life['start']>): ToolRun => ({
  ended: ended.then(endOnce),
  kill,
  leave: () => {},
})

/** Undefined when nobody watches the tool any more. Then it is killed. */
async function endWatched(end: End, mark: string): Promise<ToolEnd | undefined> {
  if (end.how !== 'unwatched') return end
  if (end.process) await killAndWait(end.process)
  await killUnreported(mark, end.forkServer)
  return undefined
}
