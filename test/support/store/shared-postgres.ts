/**
 * `STORE=postgres`: one server for the tests of the service, which then use it in place of SQLite. `STORE=follower`: the
 * service under test is a follower, whose leader has no GPUs.
 */
import { createHash } from 'node:crypto'
import { Client } from 'pg'
import { startPostgresServer } from '../../../bench/postgres.ts'

const variable = 'TEST_POSTGRES_URL'

/** For tests of the file of SQLite, which are left out then. */
export const isOnPostgres = ['postgres', 'follower'].includes(process.env.STORE ?? '')

export const isFollower = process.env.STORE === 'follower'

/** Vitest calls this once before the tests that start processes, and the result after them. */
export default async function setUp(): Promise<(() => Promise<void>) | undefined> {
  if (!isOnPostgres) return undefined
  const server = await startPostgresServer({ isDurable: false })
  process.env[variable] = server.url('postgres')
  return () => server[Symbol.asyncDispose]()
}

/**
 * Settings for the database of a data directory, created with its first service. Nothing with SQLite. The node has the
 * name that it has without a cluster.
 */
export async function databaseOf(
  dataDir: string,
): Promise<{ DATABASE_URL?: string; NODE_NAME?: string }> {
  const server = process.env[variable]
  if (server === undefined) return {}
  const name = `wan_${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`
  const client = new Client(server)
  await client.connect()
  try {
    await client.query(`create database ${name}`).catch((error: { code?: string }) => {
      if (error.code !== alreadyThere) throw error
    })
  } finally {
    await client.end()
  }
  const url = new URL(server)
  url.pathname = `/${name}`
  return { DATABASE_URL: url.href, NODE_NAME: 'local' }
}

const alreadyThere = '42P04'
