/** Questions about jobs: answered from the record and the queue's committed state. */
import type { Scope } from '../../domain/client.ts'
import type { Expired, JobId } from '../../domain/job.ts'
import { pipeAnswer } from '../actor.ts'
import { view } from '../queue/queue-answers.ts'
import type { JobView } from '../queue/queue-protocol.ts'
import type { QueueSnapshot } from '../queue/queue-state.ts'
import type { ArchiveStore } from './archive-ports.ts'
import type { ArchiveQuestion, JobDetail } from './archive-protocol.ts'

type Asked = Readonly<{ jobId: JobId; scope: Scope }>

export function createArchiveReads(store: ArchiveStore) {
  return { reply }

  function reply(question: ArchiveQuestion, queue: QueueSnapshot): void {
    const { type, scope, replyTo } = question
    const why = 'the store could not be read'
    switch (type) {
      case 'find':
        pipeAnswer(replyTo, find(question, queue), why)
        break
      case 'findMany':
        pipeAnswer(replyTo, findMany(question.jobIds, scope, queue), why)
        break
      case 'describe':
        pipeAnswer(replyTo, describe(question, queue), why)
        break
      case 'list': {
        const page = store.list(question.filter, scope).then(({ jobs, hasMore }) => ({
          jobs: jobs.map((job) => view(job, queue)),
          hasMore,
        }))
        pipeAnswer(replyTo, page, why)
        break
      }
      case 'lookup': {
        const { prompt, limit } = question
        const views = store
          .lookup(prompt, limit, scope)
          .then((jobs) => jobs.map((job) => view(job, queue)))
        pipeAnswer(replyTo, views, why)
        break
      }
      case 'findVideo':
        pipeAnswer(replyTo, findVideo(question.filename, scope), why)
        break
    }
  }

  async function find(asked: Asked, queue: QueueSnapshot): Promise<JobView | Expired | undefined> {
    const job = await store.find(asked.jobId, asked.scope)
    return job ? view(job, queue) : expired(asked)
  }

  async function findMany(jobIds: readonly JobId[], scope: Scope, queue: QueueSnapshot) {
    const jobs = await store.findMany(jobIds, scope)
    return jobs.map((job) => view(job, queue))
  }

  async function describe(
    asked: Asked,
    queue: QueueSnapshot,
  ): Promise<JobDetail | Expired | undefined> {
    const [job, attempts] = await Promise.all([
      store.find(asked.jobId, asked.scope),
      store.attempts(asked.jobId),
    ])
    return job ? { ...view(job, queue), attempts } : expired(asked)
  }

  async function findVideo(filename: string, scope: Scope) {
    const [job] = await store.videos({ filenames: [filename] }, scope)
    return (
      job ??
      (await store.findLost(filename, scope)) ??
      (await store.findExpired({ filename }, scope))
    )
  }

  function expired({ jobId, scope }: Asked): Promise<Expired | undefined> {
    return store.findExpired({ jobId }, scope)
  }
}
