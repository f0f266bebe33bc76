/** A task as the API shows it: what its generations read, and the template that they are forked from. */
import * as v from 'valibot'
import { type TemplateView, templatePhases } from '../../actors/template/template-protocol.ts'
import type { NodeName } from '../../domain/node.ts'
import { type WanTask, wanTaskNames } from '../../domain/wan-tasks.ts'
import { NodeNameJson } from './node-view.ts'
import { Count } from './words.ts'

const TemplateJson = v.object({
  state: v.pipe(
    v.picklist(templatePhases),
    v.description(
      '`ready`: jobs start warm; in every other state they start cold. `building`: loads, or waits for its turn among the loads; `probing`: loaded, waits for an idle GPU or for the end of its probe; `failed`: loaded again later; `dropped`: loaded again with the next job; `off`: not loaded again until a reload or a restart',
    ),
  ),
  reason: v.pipe(
    v.nullable(v.string()),
    v.description('reason for which it is loaded, or is not there; null while it is loaded'),
  ),
  private_bytes: v.pipe(
    v.nullable(Count),
    v.description('memory that it alone had after loading; null while it is not loaded'),
  ),
  shared_bytes: v.pipe(
    v.nullable(Count),
    v.description('memory that was mapped from files after loading'),
  ),
  load_seconds: v.pipe(v.nullable(v.number()), v.description('time that loading took')),
  jobs_started: v.pipe(
    Count,
    v.description('generations that were forked from this template, or from the last one'),
  ),
  can_reload: v.pipe(
    v.boolean(),
    v.description('false where the settings allow no template, as with `WARM_START=off`'),
  ),
})

export const TaskJson = v.object({
  task: v.picklist(wanTaskNames),
  checkpoint: v.pipe(v.string(), v.description('directory of its weights')),
  template: v.pipe(
    TemplateJson,
    v.description('that of the node that answers; of the leader in a cluster'),
  ),
  nodes: v.pipe(
    v.array(v.object({ node: NodeNameJson, template: v.nullable(TemplateJson) })),
    v.description(
      'the template of each node that is there. null: the node did not tell in time. A service without a cluster has one node, `local`',
    ),
  ),
})
export type TaskJson = v.InferOutput<typeof TaskJson>

export const reloadResults = ['reloaded', 'refused', 'unknown', 'away'] as const

const ReloadJson = v.object({
  node: NodeNameJson,
  result: v.pipe(
    v.picklist(reloadResults),
    v.description(
      '`reloaded`: the template is loaded again; `refused`: the node has none to load; `unknown`: the node did not answer in time, and may load it; `away`: the node is not connected to the leader and was not asked',
    ),
  ),
  reason: v.pipe(v.nullable(v.string()), v.description('null for `reloaded`')),
})
export type ReloadJson = v.InferOutput<typeof ReloadJson>

export const ReloadedTaskJson = v.object({
  ...TaskJson.entries,
  reloads: v.pipe(v.array(ReloadJson), v.description('result for each node of the cluster')),
})
export type ReloadedTaskJson = v.InferOutput<typeof ReloadedTaskJson>

/** `node`: the one that answers. */
export type TaskSight = Readonly<{ task: WanTask; checkpoint: string; node: NodeName }>

/** `own`: of this node. `others`: of those that are there; undefined: not told in time. */
export const taskJson = (
  { task, checkpoint, node }: TaskSight,
  own: TemplateView,
  others: Iterable<readonly [NodeName, TemplateView | undefined]>,
): TaskJson => ({
  ...{ task, checkpoint, template: templateJson(own) },
  nodes: [[node, own] as const, ...others].map(([node, template]) => ({
    node,
    template: template ? templateJson(template) : null,
  })),
})

function templateJson(template: TemplateView): TaskJson['template'] {
  const facts = 'facts' in template ? template.facts : undefined
  return {
    state: template.phase,
    reason: 'why' in template ? template.why : null,
    private_bytes: facts?.privateBytes ?? null,
    shared_bytes: facts?.sharedBytes ?? null,
    load_seconds: facts ? facts.tookMs / 1000 : null,
    jobs_started: template.starts,
    can_reload: template.canReload,
  }
}
