import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { pino } from 'pino'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { DatabaseUnreachableError } from '../../src/domain/errors.ts'
import { inspectServer } from '../../src/infra/store/postgres/inspect-server.ts'
import { inspectSchema, migratePostgres } from '../../src/infra/store/postgres/migrate-postgres.ts'
import { openNodeReads } from '../../src/infra/store/postgres/open-node-reads.ts'
import { describeUrl } from '../../src/infra/store/postgres/pool.ts'
import { UnusableDatabaseError } from '../../src/infra/store/unusable-database.ts'
import { whenBack, whenReachable } from '../../src/service/database/postgres.ts'
import { wanctl } from '../support/cli.ts'
import { jobId } from '../support/jobs.ts'
import { startService } from '../support/service.ts'
import { missing, usePostgresServer } from '../support/store/postgres-stores.ts'

// The first of them may build the service.
vi.setConfig({ testTimeout: 120_000 })

const log = pino({ enabled: false })

describe.skipIf(missing)('PostgreSQL that refuses a start', () => {
  const server = usePostgresServer()

  const changed = (url: string, change: (url: URL) => void): string => {
    const other = new URL(url)
    change(other)
    return other.href
  }

  /** URL of a role without rights. */
  async function aRole(url: string): Promise<Readonly<{ url: string; role: string }>> {
    const role = `role_${randomBytes(6).toString('hex')}`
    await server().query('postgres', `create role ${role} login password 'secret'`)
    const own = changed(url, (other) => {
      other.username = role
      other.password = 'secret'
    })
    return { url: own, role }
  }

  const databaseOf = (url: string) => new URL(url).pathname.slice(1)

  const refusal = async (url: string, work: (url: string) => Promise<unknown> = inspectServer) => {
    const error = await whenReachable(() => work(url), url, log).then(
      () => expect.fail('the start was not refused'),
      (error: unknown) => error,
    )
    expect(error).toBeInstanceOf(UnusableDatabaseError)
    const { message } = error as Error
    expect(message).toContain(`${describeUrl(url)}: `)
    return message.replace(`${describeUrl(url)}: `, '')
  }

  it('without a password names both places of one, in the service and in wanctl doctor', async () => {
    const url = changed(await server().createDatabase(), (other) => {
      other.password = ''
    })
    const message = 'no password in DATABASE_URL or ~/.pgpass. That file must have mode 0600.'
    expect(await refusal(url)).toBe(message)
    const env = { DATABASE_URL: url, HOME: '/nonexistent' }
    await expect(startService({ env })).rejects.toThrow(`${describeUrl(url)}: ${message}`)
    const { stdout } = await wanctl(['doctor'], {
      env: { ...env, NODE_URL: 'http://127.0.0.1:8080' },
    })
    expect(stdout).toContain(message)
  })

  it('with a wrong password, or without the database, says what to correct', async () => {
    const url = await server().createDatabase()
    const wrong = changed(url, (other) => {
      other.password = 'wrong'
    })
    expect(await refusal(wrong)).toBe(
      'password authentication failed for user "postgres". Correct DATABASE_URL.',
    )
    const nowhere = changed(url, (other) => {
      other.pathname = '/nowhere'
    })
    expect(await refusal(nowhere)).toBe(
      'database "nowhere" does not exist. Correct DATABASE_URL, or create the database.',
    )
  })

  it('names TLS and sslmode when the server has no TLS', async () => {
    const url = `${await server().createDatabase()}?sslmode=verify-full`
    expect(await refusal(url)).toBe(
      'The server does not support SSL connections. Set ssl = on at the server, or remove sslmode from DATABASE_URL.',
    )
  })

  it('names the owner that the database must have, before and while it changes the schema', async () => {
    const { url, role } = await aRole(await server().createDatabase())
    const message = `permission denied for schema public. The role must own the database: alter database ${databaseOf(url)} owner to ${role}`
    expect(await refusal(url, inspectSchema)).toBe(message)
    expect(await refusal(url, migratePostgres)).toBe(message)

    await server().query('postgres', `alter database ${databaseOf(url)} owner to ${role}`)
    await inspectSchema(url)
    await migratePostgres(url)
  })

  it('names the tables of another owner', async () => {
    const admin = await server().createDatabase()
    await migratePostgres(admin)
    const { url, role } = await aRole(admin)
    expect(await refusal(url, inspectSchema)).toBe(
      `permission denied for table kysely_migration. The role must own the tables of the service: alter table … owner to ${role}`,
    )
  })
})

describe.skipIf(missing)('PostgreSQL that refuses a node that has worked with it', () => {
  const server = usePostgresServer()
  const disconnect = (name: string) =>
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`

  it.each([
    {
      what: 'takes no connections',
      refuse: (name: string) => `alter database ${name} allow_connections = false`,
      accept: (name: string) => `alter database ${name} allow_connections = true`,
    },
    {
      what: 'has another name',
      refuse: (name: string) => `alter database ${name} rename to ${name}_aside`,
      accept: (name: string) => `alter database ${name}_aside rename to ${name}`,
    },
    {
      what: 'has another password',
      refuse: () => `alter role postgres password 'another'`,
      accept: () => `alter role postgres password '${server().password}'`,
    },
  ])('is waited for while it $what', async ({ refuse, accept }) => {
    const url = await server().createDatabase()
    const name = new URL(url).pathname.slice(1)
    await migratePostgres(url)
    const operator = new Client(server().url('postgres'))
    await operator.connect()
    onTestFinished(() => operator.end())
    const reads = await openNodeReads(url)
    onTestFinished(() => reads.close())
    await reads.find(jobId(1))
    await operator.query(disconnect(name))
    await operator.query(refuse(name))
    const warn = vi.fn()
    const found = whenBack(() => reads.find(jobId(1)), url, { ...log, warn } as never)
    await expect.poll(() => warn).toHaveBeenCalled()
    await operator.query(accept(name))
    expect(await found).toBeUndefined()
  })

  it('is waited for while it is restored, with its tables gone', async () => {
    const url = await server().createDatabase()
    const name = new URL(url).pathname.slice(1)
    await migratePostgres(url)
    const reads = await openNodeReads(url)
    onTestFinished(() => reads.close())
    await server().query(name, 'alter table job rename to gone')
    await expect(reads.find(jobId(1))).rejects.toThrow(DatabaseUnreachableError)
  })
})
