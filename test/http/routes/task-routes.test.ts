import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { type ActorRef, createPlace, tell } from '../../../src/actors/actor.ts'
import type {
  TemplateMessage,
  TemplateView,
} from '../../../src/actors/template/template-protocol.ts'
import { RefusalError } from '../../../src/domain/errors.ts'
import { NodeName } from '../../../src/domain/node.ts'
import { anActor } from '../../support/jobs.ts'
import { anApp } from '../../support/routes.ts'

const facts = { tookMs: 48_200, privateBytes: 11_000, sharedBytes: 12_000 }

const named = (name: string): NodeName => v.parse(NodeName, name)
const local = named('local')
const other = named('other')

type Others = readonly (readonly [NodeName, ActorRef<TemplateMessage> | undefined])[]

/** The app in front of templates that are described like this, and reloaded like that. */
const anAppWith = (
  view: TemplateView,
  reloaded: TemplateView | RefusalError = view,
  others: Others = [],
) => appOf(aTemplate(view, reloaded), others)

function aTemplate(view: TemplateView, reloaded: TemplateView | RefusalError = view) {
  const { ref } = anActor<null, TemplateMessage>('template', {
    init: () => null,
    receive(state, message) {
      if (message.type === 'describe') tell(message.replyTo, view)
      if (message.type === 'reload') tell(message.replyTo, reloaded)
      return state
    },
  })
  return ref
}

function appOf(template: ActorRef<TemplateMessage>, others: Others) {
  const here = { node: local, template, elsewhere: () => others } as const
  const tasks = [
    { task: 'ti2v-5B', checkpoint: '/models/5B', ...here },
    { task: 't2v-A14B', checkpoint: '/models/A14B', ...here },
  ] as const
  return anApp({ tasks })
}

describe('GET /tasks', () => {
  it('lists each task with its checkpoint and its template', async () => {
    const app = anAppWith({ phase: 'ready', facts, starts: 12, canReload: true })
    const template = {
      state: 'ready',
      reason: null,
      private_bytes: 11_000,
      shared_bytes: 12_000,
      load_seconds: 48.2,
      jobs_started: 12,
      can_reload: true,
    }
    const nodes = [{ node: 'local', template }]
    expect(await (await app.request('/tasks')).json()).toEqual({
      tasks: [
        { task: 'ti2v-5B', checkpoint: '/models/5B', template, nodes },
        { task: 't2v-A14B', checkpoint: '/models/A14B', template, nodes },
      ],
    })
  })

  it.each(['off', 'building', 'failed', 'dropped'] as const)(
    'has the reason and no figures of a template that is %s',
    async (phase) => {
      const answer = await anAppWith({
        phase,
        why: 'of a reason',
        starts: 3,
        canReload: true,
      }).request('/tasks')
      const { tasks } = (await answer.json()) as { tasks: { template: object }[] }
      expect(tasks[0]?.template).toEqual({
        state: phase,
        reason: 'of a reason',
        private_bytes: null,
        shared_bytes: null,
        load_seconds: null,
        jobs_started: 3,
        can_reload: true,
      })
    },
  )
})

describe('POST /tasks/{task}/reload', () => {
  const reload = (app: ReturnType<typeof anApp>, task: string) =>
    app.request(`/tasks/${task}/reload`, { method: 'POST' })

  const ready = { phase: 'ready', facts, starts: 1, canReload: true } as const
  const off = { phase: 'off', why: 'no GPU', starts: 0, canReload: false } as const
  const refusal = new RefusalError('warm_start_off', 'There is no template.')

  it('returns the task with the state of the template that is loaded', async () => {
    const building = {
      phase: 'building',
      why: 'a reload was requested',
      starts: 0,
      canReload: true,
    } as const
    const answer = await reload(anAppWith(building), 'ti2v-5B')
    expect(answer.status).toBe(202)
    expect(await answer.json()).toMatchObject({
      task: 'ti2v-5B',
      template: { state: 'building', reason: 'a reload was requested' },
      reloads: [{ node: 'local', result: 'reloaded', reason: null }],
    })
  })

  it('says of each node whether its template is loaded again, also of those that are away or silent', async () => {
    const app = anAppWith(off, refusal, [
      [other, aTemplate(ready)],
      [named('silent'), createPlace<TemplateMessage>('template')],
      [named('away'), undefined],
    ])
    const answer = await reload(app, 'ti2v-5B')
    expect(answer.status).toBe(202)
    expect(await answer.json()).toMatchObject({
      template: { state: 'off' },
      nodes: [
        { node: 'local', template: { state: 'off' } },
        { node: 'other', template: { state: 'ready' } },
        { node: 'silent', template: null },
      ],
      reloads: [
        { node: 'local', result: 'refused', reason: 'There is no template.' },
        { node: 'other', result: 'reloaded', reason: null },
        { node: 'silent', result: 'unknown', reason: expect.stringContaining('2 s') },
        { node: 'away', result: 'away', reason: expect.stringContaining('not asked') },
      ],
    })
  })

  it('does not refuse as long as a node that did not answer may load its template', async () => {
    const silent = createPlace<TemplateMessage>('template')
    const answer = await reload(anAppWith(off, refusal, [[other, silent]]), 'ti2v-5B')
    expect(answer.status).toBe(202)
    expect(await answer.json()).toMatchObject({
      reloads: [{ result: 'refused' }, { node: 'other', result: 'unknown' }],
    })
  })

  it('refuses with the reason of each node where no node loads a template', async () => {
    const app = anAppWith(off, refusal, [
      [other, aTemplate(off, new RefusalError('warm_start_off', 'There is none here.'))],
      [named('away'), undefined],
    ])
    const answer = await reload(app, 'ti2v-5B')
    expect(answer.status).toBe(409)
    expect(await answer.json()).toMatchObject({
      code: 'warm_start_off',
      detail: expect.stringMatching(
        /^No connected node .*local: There is no template\. other: There is none here\. away: .* not asked/,
      ),
    })
  })

  it('refuses a task that the service does not have, and names those that it has', async () => {
    const answer = await reload(
      anAppWith({ phase: 'ready', facts, starts: 1, canReload: true }),
      's2v-14B',
    )
    expect(answer.status).toBe(404)
    expect(await answer.json()).toMatchObject({
      code: 'task_not_found',
      field: 'task',
      detail: expect.stringContaining('ti2v-5B, t2v-A14B'),
    })
  })

  it('refuses with the reason where there is no template to reload', async () => {
    const off = { phase: 'off', why: 'WARM_START is off', starts: 0, canReload: false } as const
    const refusal = new RefusalError('warm_start_off', 'There is no template: WARM_START is off.')
    const answer = await reload(anAppWith(off, refusal), 'ti2v-5B')
    expect(answer.status).toBe(409)
    expect(await answer.json()).toMatchObject({
      code: 'warm_start_off',
      detail: 'There is no template: WARM_START is off.',
    })
  })
})
