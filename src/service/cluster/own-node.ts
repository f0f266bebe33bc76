/** What this node is called, and how others reach it. */
import { hostname } from 'node:os'
import * as v from 'valibot'
import type { Config } from '../../config/config.ts'
import { NodeName } from '../../domain/node.ts'

/** A node may lead and answer requests without a GPU of its own. */
export const hasNoGpus = ({ gpuIds }: Config): boolean => gpuIds?.join() === 'none'

/** A URL with port 0 has the port that the server got. */
export function urlOf({ node: { url = `http://${hostname()}:0` } }: Config, port: string): string {
  const parsed = new URL(url)
  if (parsed.port === '0') parsed.port = port
  return parsed.href.replace(/\/$/, '')
}

export function nameOf({ node: { name } }: Config): NodeName {
  if (name !== undefined) return name
  const own = v.safeParse(NodeName, hostname())
  if (own.success) return own.output
  throw new Error(`NODE_NAME must be set: the host name "${hostname()}" cannot name a node.`)
}
