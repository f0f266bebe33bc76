import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { TemplateMessage } from '../../actors/template/template-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { NodeName } from '../../domain/node.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import {
  ReloadedTaskJson,
  type ReloadJson,
  TaskJson,
  type TaskSight,
  taskJson,
} from '../views/task-view.ts'

type Template = ActorRef<TemplateMessage>

/** A task, with the actors of its templates: on this node, and on the others. Undefined: the node is away. */
export type ServedTask = TaskSight &
  Readonly<{ template: Template; elsewhere(): Iterable<readonly [NodeName, Template | undefined]> }>

export type TaskRoutesOptions = Readonly<{ tasks: readonly ServedTask[] }>

const TasksJson = v.object({ tasks: v.array(TaskJson) })

/** A machine that hangs keeps nobody waiting for longer. */
const patienceMs = 2_000

/** Tasks with their templates. */
export function taskRoutes({ tasks }: TaskRoutesOptions) {
  return new Hono<ClientEnv>()
    .get(
      '/tasks',
      route({
        id: 'listTasks',
        access: 'admin',
        tag: 'service',
        summary: 'List tasks with their templates',
        details: 'Jobs are forked from the template of their task when it is ready (`WARM_START`).',
        answers: { 200: { means: 'All tasks of this service', json: TasksJson } },
      }),
      async (c) => c.json({ tasks: await Promise.all(tasks.map(describe)) }, 200),
    )

    .post(
      '/tasks/:task/reload',
      route({
        id: 'reloadTask',
        access: 'admin',
        tag: 'service',
        summary: 'Load the template of a task again',
        details:
          'Also after warm starts were given up, as when a probe has failed. Jobs that run go on. In a cluster, ' +
          'every node that is there loads its own. `reloads` has the result for each node. ' +
          'Other jobs start cold until the template is `ready`.',
        params: v.object({
          task: v.pipe(v.string(), v.description('name of the task, as `GET /tasks` has it')),
        }),
        answers: {
          202: { means: 'The task with the result of each node', json: ReloadedTaskJson },
        },
        refusals: ['task_not_found', 'warm_start_off'],
      }),
      async (c) => {
        const { task: name } = c.req.valid('param')
        const task = tasks.find((one) => one.task === name)
        if (!task) throw noTask(name, tasks)
        const { requestId } = c.var
        return c.json(await reload(task, requestId), 202)
      },
    )
}

async function describe(task: ServedTask): Promise<TaskJson> {
  const question = (template: Template) => ask(template, { type: 'describe' }, patienceMs)
  const present = [...task.elsewhere()].filter(([, template]) => template !== undefined)
  const [own, ...others] = await Promise.all([
    question(task.template),
    ...present.map(
      async ([node, template]) =>
        [node, template && (await question(template).catch(() => undefined))] as const,
    ),
  ])
  return taskJson(task, own, others)
}

/** Refused where it is known that no node loads a template. */
async function reload(task: ServedTask, requestId: string): Promise<ReloadedTaskJson> {
  const templates = [[task.node, task.template] as const, ...task.elsewhere()]
  const reloads = await Promise.all(
    templates.map(async ([node, template]) => ({
      node,
      ...(await resultOf(template, requestId)),
    })),
  )
  if (reloads.every(({ result }) => result === 'refused' || result === 'away')) {
    throw new RefusalError('warm_start_off', refusalOf(reloads))
  }
  return { ...(await describe(task)), reloads }
}

async function resultOf(
  template: Template | undefined,
  requestId: string,
): Promise<Omit<ReloadJson, 'node'>> {
  if (!template) {
    const reason = 'The node is not connected to the leader and was not asked.'
    return { result: 'away', reason }
  }
  const question = ask(template, { type: 'reload', requestId }, patienceMs)
  const answer = await question.catch(() => undefined)
  if (!answer) {
    const reason = `The node did not answer within ${patienceMs / 1000} s. It may load its template again.`
    return { result: 'unknown', reason }
  }
  if (answer instanceof RefusalError) return { result: 'refused', reason: answer.message }
  return { result: 'reloaded', reason: null }
}

function refusalOf(reloads: readonly ReloadJson[]): string {
  const [only, ...others] = reloads
  if (only && others.length === 0) return only.reason ?? ''
  const reasons = reloads.map(({ node, reason }) => `${node}: ${reason}`)
  return `No connected node has a template to load. ${reasons.join(' ')}`
}

const noTask = (name: string, tasks: TaskRoutesOptions['tasks']) => {
  const names = tasks.map(({ task }) => task).join(', ')
  return new RefusalError('task_not_found', `There is no task "${name}", only ${names}.`, {
    field: 'task',
  })
}
