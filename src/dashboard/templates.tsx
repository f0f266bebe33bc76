/** Templates that jobs are forked from, and a button that loads one again. */
import { useState } from 'preact/hooks'
import type { Task } from '../http/typed-client.ts'
import { answerTo, api, faultOf } from './api.ts'
import { notify } from './notices.ts'
import { ActionButton } from './parts.tsx'
import { taskRefresher, tasks } from './state.ts'
import { plural } from './words.ts'

export const Templates = () => (
  <ul class="templates small">
    {tasks.value?.flatMap(({ task, nodes }) =>
      nodes.map(({ node, template }, index) => (
        <Template
          key={`${task} ${node}`}
          task={task}
          where={nodes.length > 1 ? ` on ${node}` : ''}
          template={template}
          // One request reloads those of all nodes.
          canReload={index === 0 && nodes.some((one) => one.template?.can_reload)}
        />
      )),
    )}
  </ul>
)

type TemplateProps = Readonly<{
  task: Task['task']
  /** Empty where there is one node. */
  where: string
  /** Null: its node did not answer in time. */
  template: Task['template'] | null
  canReload: boolean
}>

function Template({ task, where, template, canReload }: TemplateProps) {
  const [isAsked, setAsked] = useState(false)

  async function reload(): Promise<void> {
    setAsked(true)
    try {
      const { reloads } = await answerTo(api.tasks[':task'].reload.$post({ param: { task } }))
      const others = reloads.filter(({ result }) => result !== 'reloaded')
      if (others.length > 0) {
        const text = others.map(({ node, reason }) => `${node}: ${reason}`).join(' ')
        notify({ tone: 'bad', text })
      }
      if (others.length < reloads.length) {
        notify({ tone: 'good', text: `The template of ${task} is loaded again` })
      }
    } catch (error) {
      notify({ tone: 'bad', text: faultOf(error).text })
    }
    setAsked(false)
    await taskRefresher.now()
  }

  return (
    <li class="spread">
      <span>
        Template of {task}
        {where}: <strong>{template ? stateInWords[template.state] : 'unknown'}</strong>
        <span class="muted">, {template ? detailOf(template) : 'the node did not answer'}</span>
      </span>
      {canReload && (
        <ActionButton class="button small" disabled={isAsked} onClick={() => void reload()}>
          Reload<span class="hidden"> the template of {task}</span>
        </ActionButton>
      )}
    </li>
  )
}

const detailOf = ({ reason, jobs_started }: Task['template']): string =>
  reason ?? `${plural(jobs_started, 'job')} started from it`

const stateInWords: Readonly<Record<Task['template']['state'], string>> = {
  off: 'off',
  building: 'loads, or waits for its turn',
  probing: 'waiting for its probe',
  ready: 'ready',
  failed: 'not loaded, tried again later',
  dropped: 'dropped until the next job',
}
