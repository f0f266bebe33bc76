/** `GET /jobs/:id/log`. */
import { Hono } from 'hono'
import { type ActorRef, ask } from '../../../actors/actor.ts'
import type { ArchiveMessage } from '../../../actors/archive/archive-protocol.ts'
import type { Scope } from '../../../domain/client.ts'
import { jobNotFound } from '../../../domain/errors.ts'
import type { GpuId, JobId } from '../../../domain/job.ts'
import type { ClientEnv } from '../../request/client-env.ts'
import { route } from '../../request/route.ts'
import { gpuOf, type NodeFiles } from '../../response/node-files.ts'
import { found } from '../../response/outcome.ts'
import { sendLog } from '../../response/send-log.ts'
import { ofOneJob } from './one-job.ts'

export type LogRoutesOptions = Readonly<{
  archive: ActorRef<ArchiveMessage>
  /** Where a job's log is, whether or not it has been written yet. */
  logPath(jobId: JobId): string
  /** Absent: all logs are on this machine. */
  nodeFiles?: NodeFiles | undefined
}>

const logTypes = ['text/plain; charset=utf-8']

export function logRoutes({ archive, logPath, nodeFiles }: LogRoutesOptions) {
  return new Hono<ClientEnv>().get(
    '/jobs/:id/log',
    route({
      ...ofOneJob,
      id: 'getLog',
      access: 'client',
      summary: 'What generate.py said',
      details:
        'Progress bars are collapsed to their last state. Empty before the job begins. The log of a job that waits again is that of its latest attempt.',
      headers: { Range: 'which bytes; `bytes=5000-` is what is new to those who know 5,000' },
      answers: {
        200: { means: 'The log', mediaTypes: logTypes, headers: { 'Accept-Ranges': 'bytes' } },
        206: {
          means: 'A part of it',
          mediaTypes: logTypes,
          headers: { 'Content-Range': 'which' },
        },
      },
      refusals: [...ofOneJob.refusals, 'range_not_satisfiable', 'node_away'],
    }),
    async (c) => {
      const { id: jobId } = c.req.valid('param')
      const view = await ask(archive, { type: 'find', jobId, scope: c.var.scope })
      const { job } = found(view, () => jobNotFound(jobId))
      const fromNode = nodeFiles?.send(c, job, 'log', {
        caching: { 'Cache-Control': 'no-store' },
        gpu: gpuOf(job) ?? (await latestGpu(c.var.scope, jobId)),
      })
      return fromNode ?? sendLog(c, logPath(jobId))
    },
  )

  /** Of a job that no GPU has now: it waits again, or was canceled while it waited. */
  async function latestGpu(scope: Scope, jobId: JobId): Promise<GpuId | undefined> {
    const detail = await ask(archive, { type: 'describe', jobId, scope })
    const { attempts } = found(detail, () => jobNotFound(jobId))
    return (attempts.findLast(({ startedAt }) => startedAt !== undefined) ?? attempts.at(-1))?.gpu
  }
}
