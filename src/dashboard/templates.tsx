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
    {tasks.value?.map((task) => (
      <Template key={task.task} {...task} />
    ))}
  </ul>
)

function Template({ task, template }: Task) {
  const [isAsked, setAsked] = useState(false)

  async function reload(): Promise<void> {
    setAsked(true)
    try {
      await answerTo(api.tasks[':task'].reload.$post({ param: { task } }))
      notify({ tone: 'good', text: `The template of ${task} is loaded again` })
    } catch (error) {
      notify({ tone: 'bad', text: faultOf(error).text })
    }
    setAsked(false)
    await taskRefresher.now()
  }

  return (
    <li class="spread">
      <span>
        Template of {task}: <strong>{stateInWords[template.state]}</strong>
        <span class="muted">
          {template.reason === null
            ? `, ${plural(template.jobs_started, 'job')} started from it`
            : `, ${template.reason}`}
        </span>
      </span>
      {template.can_reload && (
        <ActionButton class="button small" disabled={isAsked} onClick={() => void reload()}>
          Reload<span class="hidden"> the template of {task}</span>
        </ActionButton>
      )}
    </li>
  )
}

const stateInWords: Readonly<Record<Task['template']['state'], string>> = {
  off: 'off',
  building: 'loads, or waits for its turn',
  probing: 'waiting for its probe',
  ready: 'ready',
  failed: 'not loaded, tried again later',
  dropped: 'dropped until the next job',
}
