/** `node follower.ts URL`: a node that forwards all requests to the leader at this URL. It prints its own URL. */
import { createFollowerApp } from '../../src/http/forwarding/follower-app.ts'
import { createPeers } from '../../src/http/peers/peers.ts'
import { listen } from '../../src/service/http-server.ts'

const [url = ''] = process.argv.slice(2)
const quiet = () => {}
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
const app = createFollowerApp({
  leader: () => ({ url }),
  onLeaderChange: () => quiet,
  peers: createPeers('a secret of the benchmark'),
  access: { clients: [], trustedProxies: 0, corsOrigins: [] },
  observe: quiet,
  log,
})
const server = await listen(app, {
  ...{ host: '127.0.0.1', port: 0, observe: quiet, log },
  limits: { maxConnections: 2_000, maxPerAddress: 2_000, maxStallMs: 60_000, maxHeldBytes: 1e8 },
  memory: { isShort: () => false },
})
process.stdout.write(`${server.url}\n`)
