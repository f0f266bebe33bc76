/** Questions to the queue: answered from the record and the state that is on disk. */
import type { Scope } from '../../domain/client.ts'
import type { GpuId, Job, JobId } from '../../domain/job.ts'
import { tell, tellAskerItFailed } from '../actor.ts'
import { size, values } from '../ordered-map.ts'
import type { JobStore } from './queue-ports.ts'
import type { JobView, QueueQuestion, QueueState } from './queue-protocol.ts'
import { gpuUse, isUsable, positionOf } from './queue-state.ts'

export type AnswerOptions = Readonly<{ store: JobStore; gpus: readonly GpuId[] }>

export function createAnswers({ store, gpus }: AnswerOptions) {
  return { answer }

  function answer(question: QueueQuestion, state: QueueState): void {
    const failed = (error: unknown) =>
      tellAskerItFailed(question, 'the store could not be read', error)
    switch (question.type) {
      case 'find':
        void store
          .find(question.jobId, question.scope)
          .then(async (job) => {
            tell(question.replyTo, job ? view(job, state) : await expired(question))
          })
          .catch(failed)
        break
      case 'findMany':
        void store.findMany(question.jobIds, question.scope).then((jobs) => {
          tell(
            question.replyTo,
            jobs.map((job) => view(job, state)),
          )
        }, failed)
        break
      case 'describe':
        void Promise.all([
          store.find(question.jobId, question.scope),
          store.attempts(question.jobId),
        ])
          .then(async ([job, attempts]) => {
            const answer = job ? { ...view(job, state), attempts } : await expired(question)
            tell(question.replyTo, answer)
          })
          .catch(failed)
        break
      case 'list':
        void store.list(question.filter, question.scope).then(({ jobs, hasMore }) => {
          tell(question.replyTo, { jobs: jobs.map((job) => view(job, state)), hasMore })
        }, failed)
        break
      case 'lookup':
        void store.lookup(question.prompt, question.limit, question.scope).then((jobs) => {
          tell(
            question.replyTo,
            jobs.map((job) => view(job, state)),
          )
        }, failed)
        break
      case 'findVideo':
        void store
          .videos({ filenames: [question.filename] }, question.scope)
          .then(async ([job]) => {
            tell(question.replyTo, job ?? (await store.findExpired(question, question.scope)))
          })
          .catch(failed)
        break
      case 'describeGpus':
        tell(
          question.replyTo,
          gpus.map((gpu) => gpuUse(state, gpu)),
        )
        break
      case 'describeQueue': {
        const [oldest] = values(state.waiting)
        tell(question.replyTo, {
          open: state.open,
          hasRoom: state.hasRoom,
          waiting: size(state.waiting),
          running: state.running.size,
          ...(oldest && { oldestAt: oldest.submittedAt }),
          usableGpus: state.settings.gpus.filter((gpu) => isUsable(state, gpu)),
        })
        break
      }
      default:
        question satisfies never
    }
  }

  function expired({ jobId, scope }: Readonly<{ jobId: JobId; scope: Scope }>) {
    return store.findExpired({ jobId }, scope)
  }
}

/** A job's record together with what only the queue knows of it. */
export function view(job: Job, state: QueueState): JobView {
  const position = job.state.status === 'queued' ? positionOf(state, job.id) : undefined
  const running = state.running.get(job.id)
  const reading = running?.epoch === job.epoch ? running.reading : undefined
  return { job, ...(position !== undefined && { position }), ...(reading && { reading }) }
}
