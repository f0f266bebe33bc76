/** Checked by the compiler alone: what the typed client takes, and what it gives back. */
import {
  type Client,
  createClient,
  type Gpu,
  type Job,
  type Node,
  type Problem,
  parseResponse,
} from '../../src/http/typed-client.ts'

export async function clientsKnowEveryRoute(client: Client, id: string) {
  const accepted = await parseResponse(
    client.generate.$post({ json: { prompt: 'a fox', size: '1280x720', seed: 7 } }),
  )
  const position: number | null = accepted.queue_position
  const job: Job = await parseResponse(client.status[':id'].$get({ param: { id } }))
  const page = await parseResponse(client.jobs.$get({ query: { status: 'queued', limit: '5' } }))
  const jobs: Job[] = page.jobs
  const { attempts } = await parseResponse(client.jobs[':id'].$get({ param: { id } }))
  const gpu: Gpu = await parseResponse(client.gpus[':id'].drain.$post({ param: { id: '0' } }))
  const node: Node = await parseResponse(
    client.nodes[':name'].drain.$post({ param: { name: 'gpu-7' } }),
  )
  const { nodes } = await parseResponse(client.nodes.$get())
  const restarted = client.gpus[':id'].restart.$post({ param: { id: '0' }, json: { job: 'fail' } })
  const again = client.gpus[':id'].restart.$post({ param: { id: '0' } })
  const { deleted } = await parseResponse(client.videos.$delete({ query: { all: 'true' } }))

  // @ts-expect-error no such route
  client.nothing.$get()
  // @ts-expect-error no such method
  client.generate.$get()
  // @ts-expect-error no body
  client.generate.$post()
  // @ts-expect-error no size
  client.generate.$post({ json: { prompt: 'a fox' } })
  // @ts-expect-error no such size
  client.generate.$post({ json: { prompt: 'a fox', size: '1x1' } })
  // @ts-expect-error which job?
  client.status[':id'].$get()
  // @ts-expect-error no such field
  const colour: unknown = job.colour
  // @ts-expect-error no such word
  const done: boolean = job.status === 'done'

  return [position, jobs, attempts, gpu, node, nodes, restarted, again, deleted, colour, done]
}

export async function aStatusTellsWhatIsInTheAnswer(client: Client, id: string) {
  const response = await client.status[':id'].$get({ param: { id } })
  if (response.status === 404) {
    const problem: Problem = await response.json()
    // @ts-expect-error a problem is no job
    const job: Job = await response.json()
    return [problem, job]
  }
  if (response.status === 200) {
    const job: Job = await response.json()
    return [job]
  }
  return []
}

export const clientsMayHaveATokenAndAFetchOfTheirOwn = (): Client =>
  createClient('http://127.0.0.1:8080', { token: 'secret', fetch, headers: { 'X-Trace': '1' } })
