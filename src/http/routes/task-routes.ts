import { Hono } from 'hono'
import * as v from 'valibot'
import { type ActorRef, ask } from '../../actors/actor.ts'
import type { TemplateMessage } from '../../actors/template/template-protocol.ts'
import { RefusalError } from '../../domain/errors.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'
import { orThrow } from '../response/outcome.ts'
import { TaskJson, type TaskSight, taskJson } from '../views/task-view.ts'

export type TaskRoutesOptions = Readonly<{
  /** Tasks of this service, each with the actor of its template. */
  tasks: readonly (TaskSight & Readonly<{ template: ActorRef<TemplateMessage> }>)[]
}>

const TasksJson = v.object({ tasks: v.array(TaskJson) })

/** Tasks with their templates. */
export function taskRoutes({ tasks }: TaskRoutesOptions) {
  const view = async (): Promise<TaskJson[]> => {
    const templates = tasks.map(({ template }) => ask(template, { type: 'describe' }))
    const views = await Promise.all(templates)
    return tasks.flatMap((task, index) => {
      const template = views[index]
      return template ? [taskJson(task, template)] : []
    })
  }

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
      async (c) => c.json({ tasks: await view() }, 200),
    )

    .post(
      '/tasks/:task/reload',
      route({
        id: 'reloadTask',
        access: 'admin',
        tag: 'service',
        summary: 'Load the template of a task again',
        details:
          'Also after warm starts were given up, as when a probe has failed. Jobs that run go on. ' +
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
        const template = orThrow(await ask(task.template, { type: 'reload', requestId }))
        return c.json(taskJson(task, template), 202)
      },
    )
}

const noTask = (name: string, tasks: TaskRoutesOptions['tasks']) => {
  const names = tasks.map(({ task }) => task).join(', ')
  return new RefusalError('task_not_found', `There is no task "${name}", only ${names}.`, {
    field: 'task',
  })
}
