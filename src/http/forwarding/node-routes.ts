/** What a node answers other nodes: routes that clients cannot reach, and that are not in the document. */
import { Hono } from 'hono'
import { RefusalError } from '../../domain/errors.ts'
import type { Logger } from '../../domain/log.ts'
import { nodeNameHeader, type Peers } from '../peers/peers.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { renderError, renderRefusal } from '../response/errors.ts'
import { type FilesForNodesOptions, filesForNodes } from './files-for-nodes.ts'

/** An app as a server calls it. */
export type Answering = Readonly<{
  fetch(request: Request, env: ClientEnv['Bindings']): Response | Promise<Response>
}>

export type NodeRoutesOptions = Readonly<{
  /** Name of this node. */
  name: string
  peers: Pick<Peers, 'isFromNode' | 'hungUp'>
  files: FilesForNodesOptions
  log: Logger
}>

/** `app`, behind the routes for other nodes. To anybody else these routes do not exist. */
export function answerNodes(
  app: Answering,
  { name, peers, files, log }: NodeRoutesOptions,
): Answering {
  const forNodes = new Hono<ClientEnv>()
  forNodes.onError(renderError(log))
  forNodes.notFound((c) =>
    renderRefusal(c, new RefusalError('route_not_found', `There is nothing at ${c.req.path}.`)),
  )
  // The sender's URL of another node leads here: this node has other files.
  forNodes.use(async (c, next) => {
    const wanted = c.req.header(nodeNameHeader)
    return wanted === undefined || wanted === name ? await next() : c.body(null, 421)
  })
  forNodes.post('/internal/hang-ups/:id', (c) => {
    peers.hungUp(c.req.param('id'))
    return c.body(null, 204)
  })
  forNodes.route('/', filesForNodes(files))

  return {
    fetch: (request, env) =>
      peers.isFromNode(env.incoming) ? forNodes.fetch(request, env) : app.fetch(request, env),
  }
}
