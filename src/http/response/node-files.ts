/** Files that are on another node: the leader finds their job and asks that node for them. */
import type { IncomingMessage } from 'node:http'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { Context } from 'hono'
import type { StatusCode } from 'hono/utils/http-status'
import * as v from 'valibot'
import { messageOf, RefusalError } from '../../domain/errors.ts'
import type { GpuId, Job } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { breakOff, type Outgoing } from '../fast/outgoing.ts'
import { responseHeaders } from '../peers/headers.ts'
import { nodeKeyHeader, nodeNameHeader, type Peers } from '../peers/peers.ts'

import { noSuchRange, type SentFile } from './send-file.ts'

/** `here`: on this machine, or on a file system that it has mounted. `away`: on a node that is not running, or is lost. */
export type Holder = NodePlace | 'here' | 'away'

export type NodePlace = Readonly<{ name: string; url: string }>

export type NodeFileKind = 'video' | 'thumbnail' | 'spritesheet' | 'log'

export type NodeFilesOptions = Readonly<{
  /** `gpu`: undefined where no attempt has begun. */
  holder(gpu: GpuId | undefined, kind: NodeFileKind): Holder
  peers: Pick<Peers, 'call' | 'nodeKey'>
  log: Pick<Logger, 'warn'>
  /** Longest wait for the begin of a file. */
  waitMs?: number
}>

export type NodeFileOptions = Pick<SentFile, 'caching' | 'asked' | 'downloads'> &
  Readonly<{
    /** Absent: that of the job. */
    gpu?: GpuId | undefined
    /** Receives whether the file is there and that of the job. */
    onFinding?: (isOwn: boolean) => void
  }>

export type NodeFiles = Readonly<{
  /** `undefined`: the files of the job are on this node. */
  send(
    c: Context,
    job: Job,
    kind: NodeFileKind,
    options: NodeFileOptions,
  ): Promise<Response> | undefined
}>

/** A preview that is made first takes up to 60 s. */
const defaultWaitMs = 65_000

/** Which part is wanted, and whether it is known already. */
const conditions = [
  ...['range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'],
]

/** Headers of the response to this node's request. The client's has its own. */
const ofNode = ['date', 'x-request-id', 'cache-control', 'vary']

/** Refusals that are about the file. All others are about the node. */
const passedOn = [
  ...([
    'video_not_found',
    'video_replaced',
    'precondition_failed',
    'range_not_satisfiable',
  ] as const),
  ...(['service_busy', 'disk_full'] as const),
]

const ProblemOfNode = v.object({
  code: v.picklist(passedOn),
  detail: v.string(),
  field: v.optional(v.string()),
})

export function createNodeFiles({
  holder,
  peers,
  log,
  waitMs = defaultWaitMs,
}: NodeFilesOptions): NodeFiles {
  return {
    send(c, job, kind, options) {
      const where = holder(options.gpu ?? gpuOf(job), kind)
      if (where === 'here') return undefined
      return where === 'away' ? Promise.reject(nodeAway()) : sendFrom(where, c, job, kind, options)
    },
  }

  async function sendFrom(
    node: NodePlace,
    c: Context,
    job: Job,
    kind: NodeFileKind,
    { caching, asked, downloads, onFinding }: NodeFileOptions,
  ): Promise<Response> {
    const { method, headers } = asked ?? { method: c.req.method, headers: c.req.header() }
    const end = begin(job, downloads)
    try {
      const response = await open(c, node, `/internal/jobs/${job.id}/${kind}`, method, headers)
      const { statusCode: status = 502 } = response
      if (status >= 400) throw await refusalOf(c, node, response, onFinding)
      onFinding?.(true)
      const passed = passOn(outgoingOf(c), response)
      passed.once('close', end)
      const isEmpty = method === 'HEAD' || status === 304
      if (isEmpty) passed.resume()
      return c.newResponse(isEmpty ? null : (Readable.toWeb(passed) as ReadableStream), {
        status: status as StatusCode,
        headers: { ...headersOfFile(response), ...caching },
      })
    } catch (error) {
      end()
      throw error
    }
  }

  async function open(
    c: Context,
    { name, url }: NodePlace,
    path: string,
    method: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<IncomingMessage> {
    const outgoing = outgoingOf(c)
    const wanted = conditions.flatMap((name) => {
      const value = headers[name]
      return value === undefined ? [] : [name, value]
    })
    const { request, outcome } = peers.call(
      {
        ...{ url, method, path },
        headers: [
          ...['Host', new URL(url).host, 'X-Request-Id', outgoing.requestId],
          ...[nodeKeyHeader, peers.nodeKey, nodeNameHeader, name, ...wanted],
        ],
      },
      (connected) => connected.end(),
    )
    const tooLate = setTimeout(() => request.destroy(new Error('no response in time')), waitMs)
    const clientLeft = () => request.destroy()
    outgoing.once('close', clientLeft)
    const result = await outcome
    clearTimeout(tooLate)
    outgoing.off('close', clientLeft)
    if (result.how === 'answered') return result.response
    if (!outgoing.destroyed)
      log.warn({ node: url, error: messageOf(result.error) }, 'a node did not send a file')
    throw nodeAway()
  }

  async function refusalOf(
    c: Context,
    { name, url }: NodePlace,
    response: IncomingMessage,
    onFinding: NodeFileOptions['onFinding'],
  ): Promise<RefusalError> {
    if (response.statusCode === 421) {
      response.resume()
      log.warn({ node: name, url }, 'the URL of a node leads to another node')
      return nodeAway()
    }
    const body: unknown = await text(response)
      .then(JSON.parse)
      .catch(() => undefined)
    const problem = v.safeParse(ProblemOfNode, body)
    if (!problem.success) {
      log.warn({ node: url, status: response.statusCode }, 'a node did not send a file')
      return new RefusalError('service_busy', 'The node with the file failed. Try again later.')
    }
    const { code, detail, field } = problem.output
    if (code === 'range_not_satisfiable') return noSuchRange(c, response.headers['content-range'])
    if (code === 'video_not_found' || code === 'video_replaced') onFinding?.(false)
    return new RefusalError(code, detail, field === undefined ? {} : { field })
  }
}

/** The GPU that has the job, or had it at its end. */
export const gpuOf = ({ state }: Job): GpuId | undefined => ('gpu' in state ? state.gpu : undefined)

/** The download counts at the leader, which decides what expires. */
function begin(job: Job, downloads: SentFile['downloads']): () => void {
  if (!downloads || job.state.status !== 'success') return () => {}
  return downloads.begin(job.state.filename)
}

/**
 * The body for the client. It never fails: where it breaks off, the client's connection ends, because the server would
 * write an error behind the bytes that were sent.
 */
function passOn(outgoing: Outgoing, response: IncomingMessage): PassThrough {
  const passed = new PassThrough()
  passed.once('close', () => response.destroy())
  response.on('error', () => {})
  response.once('close', () => {
    if (!response.complete && !passed.destroyed) breakOff(outgoing)
  })
  response.pipe(passed)
  return passed
}

const outgoingOf = (c: Context): Outgoing => (c.env as { outgoing: Outgoing }).outgoing

/** No header of a file is repeated. */
const headersOfFile = (response: IncomingMessage): Record<string, string> =>
  Object.fromEntries(
    Object.entries(responseHeaders(response)).flatMap(([name, value]) =>
      ofNode.includes(name) ? [] : [[name, String(value)]],
    ),
  )

const nodeAway = (): RefusalError =>
  new RefusalError(
    'node_away',
    'The file is on a machine that is not running now, or that cannot be reached. Try again when it runs.',
  )
