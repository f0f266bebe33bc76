import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config/config.ts'
import { DatabaseUnreachableError } from '../../domain/errors.ts'
import type { GpuId } from '../../domain/job.ts'
import type { Logger } from '../../domain/log.ts'
import { inspectServer } from '../../infra/store/postgres/inspect-server.ts'
import { inspectSchema, type SchemaFacts } from '../../infra/store/postgres/migrate-postgres.ts'
import { openPostgres } from '../../infra/store/postgres/open-postgres.ts'
import { describeUrl } from '../../infra/store/postgres/pool.ts'
import { toStoreError } from '../../infra/store/postgres/postgres-errors.ts'
import { explainRefusal } from '../../infra/store/postgres/refusals.ts'
import { findOpenJobs, noteMoved, whyUnmoved } from '../../infra/store/postgres/unmoved-jobs.ts'
import { UnusableDatabaseError } from '../../infra/store/unusable-database.ts'
import { hasFilesOfJobs } from '../../infra/upkeep/earlier-jobs.ts'

const retryMs = 1_000

/**
 * Changes nothing in PostgreSQL. Rejects when this version cannot use the database, or when the jobs of this machine are
 * in another one.
 */
export async function inspectPostgres(
  url: string,
  { data, backupsDir }: Config,
  log: Logger,
): Promise<SchemaFacts> {
  const databases = { url, stateDb: data.stateDb }
  const inspect = async () => {
    await inspectServer(url)
    const open = await findOpenJobs(databases)
    return { facts: await inspectSchema(url), open }
  }
  const { facts, open } = await whenReachable(inspect, url, log)
  const why = whyUnmoved(databases, open, facts)
  if (why !== undefined) throw new UnusableDatabaseError(why)
  // A service also starts on a full disk: its next start notes it.
  await noteMoved(databases, open.all).catch(() => {})
  if (!facts.hasJobs && (await hasFilesOfJobs(data, backupsDir))) throw jobsElsewhere(url)
  return facts
}

export type LedDatabaseOptions = Readonly<{
  config: Config
  gpuModels: ReadonlyMap<GpuId, string | undefined>
  /** Term in which this node leads. */
  term: number
  /** A commit that began then, by the monotonic clock, is stored. */
  onCommitted(beganAt: number): void
  /** Another node leads: nothing more can be written. */
  onOver(why: string): void
  log: Logger
}>

/** Opens the database for the node that leads. Waits for a server that does not answer. */
export const openLedPostgres = (
  url: string,
  { config, gpuModels, term, onCommitted, onOver, log }: LedDatabaseOptions,
) =>
  whenBack(
    () =>
      openPostgres(
        { url, task: config.wan.task, gpuModels },
        { term, onCommitted, onOver: ({ message }) => onOver(message) },
      ),
    url,
    log,
  )

/**
 * At a start: containers that start together do not wait for each other. Rejects with `UnusableDatabaseError` where only
 * an operator can help.
 */
export const whenReachable = <Result>(
  work: () => Promise<Result>,
  url: string,
  log: Logger,
): Promise<Result> =>
  whenBack(
    () =>
      work().catch((error: unknown) => {
        const why = explainRefusal(error, url)
        throw why === undefined ? error : new UnusableDatabaseError(why)
      }),
    url,
    log,
  )

/**
 * For a node that has worked with this database. It waits whatever the server refuses: an operator may be about to change
 * a password or to restore the database, and no job is to fail by that.
 */
export async function whenBack<Result>(
  work: () => Promise<Result>,
  url: string,
  log: Logger,
): Promise<Result> {
  for (let failures = 0; ; failures++) {
    try {
      return await work()
    } catch (cause) {
      const error = toStoreError(cause)
      if (!(error instanceof DatabaseUnreachableError)) throw error
      if (failures === 0) log.warn({ err: error }, `waiting for ${describeUrl(url)}`)
      await delay(retryMs)
    }
  }
}

const jobsElsewhere = (url: string): UnusableDatabaseError =>
  new UnusableDatabaseError(
    `${describeUrl(url)} has no jobs, but the work files, videos or backups of earlier jobs are in the data ` +
      'directory. Move their records into it: wanctl migrate --to. To begin anew without those jobs, ' +
      'move their files away first.',
  )
