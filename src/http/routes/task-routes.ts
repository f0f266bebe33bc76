import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { TemplateMessage, TemplateView } from '../../actors/template/template-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { NodeName } from '../../domain/node.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { TaskJson, type TaskSight, taskJson } from '../views/task-view.ts'

type Template = ActorRef<TemplateMessage>

/** A task, with the actors of its templates: on this node, and on the others that are there. */
export type ServedTask = TaskSight &
  Readonly<{ template: Template; elsewhere(): Iterable<readonly [NodeName, Template]> }>

export type TaskRoutesOptions = Readonly<{ tasks: readonly ServedTask[] }>

const TasksJson = v.object({ tasks: v.array(TaskJson) })

/** A machine that hangs keeps nobody waiting for longer. */
const patienceMs = 2_000

/** Tasks with their templates. */
export function taskRoutes({ tasks }: TaskRoutesOptions) {
  const describe = (task: ServedTask): Promise<TaskJson> =>
    everywhere(task, (template) => ask(template, { type: 'describe' }, patienceMs))

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
          'every node that is there loads its own. Nodes that are away are not told. ' +
          'Other jobs start cold until the template is `ready`.',
        params: v.object({
          task: v.pipe(v.string(), v.description('name of the task, as `GET /tasks` has it')),
        }),
        answers: { 202: { means: 'The task with the state of its template', json: TaskJson } },
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

/** Refused where no node has anything to load. */
async function reload(task: ServedTask, requestId: string): Promise<TaskJson> {
  const refusals: RefusalError[] = []
  let accepted = 0
  const view = await everywhere(task, async (template) => {
    const answer = await ask(template, { type: 'reload', requestId }, patienceMs)
    if (!(answer instanceof RefusalError)) {
      accepted += 1
      return answer
    }
    refusals.push(answer)
    return ask(template, { type: 'describe' }, patienceMs)
  })
  const [refusal] = refusals
  if (refusal && accepted === 0) throw refusal
  return view
}

async function everywhere(
  task: ServedTask,
  question: (template: Template) => Promise<TemplateView>,
): Promise<TaskJson> {
  const [own, ...others] = await Promise.all([
    question(task.template),
    ...[...task.elsewhere()].map(
      async ([node, template]) => [node, await question(template).catch(() => undefined)] as const,
    ),
  ])
  return taskJson(task, own, others)
}

const noTask = (name: string, tasks: TaskRoutesOptions['tasks']) => {
  const names = tasks.map(({ task }) => task).join(', ')
  return new RefusalError('task_not_found', `There is no task "${name}", only ${names}.`, {
    field: 'task',
  })
}
