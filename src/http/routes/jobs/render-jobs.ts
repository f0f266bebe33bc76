/** Jobs with their estimates. */
import type { JobView } from '../../../actors/queue/queue-protocol.ts'
import type { createJobRenderer, JobJson } from '../../views/job-view.ts'

export type JobRenderer = ReturnType<typeof createJobRenderer>

export async function renderAll(
  render: JobRenderer,
  views: readonly JobView[],
): Promise<JobJson[]> {
  const estimates = await render.estimates(views.map(({ job }) => job))
  return views.map((view) => render.job(view, estimates.get(view.job.id)))
}

export async function renderOne(render: JobRenderer, view: JobView): Promise<JobJson> {
  const estimates = await render.estimates([view.job])
  return render.job(view, estimates.get(view.job.id))
}
