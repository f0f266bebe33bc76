import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { type ClusterDatabase, openClusterDatabase } from '../../cluster/database.ts'
import { readDatabaseClock } from '../../cluster/database-clock.ts'
import { defaultLeaderLostMs, startElection } from '../../cluster/election.ts'
import { readHome } from '../../cluster/home.ts'
import { DatabaseUnreachableError } from '../../domain/errors.ts'
import type { Logger } from '../../domain/log.ts'
import { watchFiles } from '../../infra/disk/file-watch.ts'
import { migratePostgres } from '../../infra/store/postgres/migrate-postgres.ts'
import { openPostgres } from '../../infra/store/postgres/open-postgres.ts'
import { describeUrl } from '../../infra/store/postgres/pool.ts'
import { toStoreError } from '../../infra/store/postgres/postgres-errors.ts'
import { UnusableDatabaseError } from '../../infra/store/unusable-database.ts'
import { hasFilesOfJobs } from '../../infra/upkeep/earlier-jobs.ts'
import type { DatabaseOptions, ServiceDatabase } from './service-database.ts'

const retryMs = 1_000

/** A leader that lives has beaten in this time, and of one that does not this node takes the place. */
const maxElectionMs = 2 * defaultLeaderLostMs

/**
 * The database that `DATABASE_URL` names. Waits for a server that does not answer, and for the place of a
 * service that has died. Rejects with `UnusableDatabaseError` when another service leads.
 */
export async function openOnPostgres(
  url: string,
  { config, gpuModels, lockPath, log, onLost }: DatabaseOptions,
): Promise<ServiceDatabase> {
  const { data, dataDir, backupsDir, wan } = config
  const { hasJobs } = await whenReachable(() => migratePostgres(url), url, log)
  if (!hasJobs && (await hasFilesOfJobs(data, backupsDir))) throw jobsElsewhere(url)
  await using opening = new AsyncDisposableStack()
  const cluster = opening.adopt(await openClusterDatabase({ url }), (opened) => opened.close())
  const lead = opening.adopt(await takeLead(cluster, { dataDir, url, log, onLost }), (taken) =>
    // A server that does not answer takes the place for vacant by itself.
    taken.resign().catch(() => {}),
  )
  const fence = { term: lead.term, onOver: ({ message }: Error) => onLost(message) }
  const database = opening.adopt(
    await whenReachable(() => openPostgres({ url, task: wan.task, gpuModels }, fence), url, log),
    (opened) => opened.close(),
  )
  opening.use(watchFiles([lockPath], onLost))
  const { db, jobs, eta, check, bytes } = database
  const opened = opening.move()
  return { db, jobs, eta, check, bytes, close: () => opened.disposeAsync() }
}

type LeadOptions = Readonly<
  { dataDir: string; url: string } & Pick<DatabaseOptions, 'log' | 'onLost'>
>

async function takeLead({ beats }: ClusterDatabase, { dataDir, url, log, onLost }: LeadOptions) {
  const me = { name: hostname().toLowerCase(), home: await readHome(dataDir) }
  const elected = Promise.withResolvers<number>()
  let leader = ''
  const election = startElection({
    connection: beats,
    me,
    clock: await whenReachable(() => readDatabaseClock(beats), url, log),
    log,
    observer: {
      leads: elected.resolve,
      follows({ node }) {
        leader = node
      },
      deposed: onLost,
    },
  })
  // Without a leader that was seen, there was no look that succeeded.
  let term: number | undefined
  do term = (await Promise.race([elected.promise, delay(maxElectionMs)])) ?? undefined
  while (term === undefined && leader === '')
  if (term !== undefined) return { term, resign: election.resign }
  await election.resign()
  throw new UnusableDatabaseError(
    `Another wan-supervisor, on ${leader}, uses ${describeUrl(url)}. ` +
      'Stop that one first, or give this one a database of its own.',
  )
}

/** Containers that start together do not wait for each other. */
async function whenReachable<Result>(
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
      const place = describeUrl(url)
      if (isFinal(error)) throw new UnusableDatabaseError(`${place}: ${error.message}`)
      if (failures === 0) log.warn({ err: error }, `waiting for ${place}`)
      await delay(retryMs)
    }
  }
}

/** Waiting does not help: the password is wrong, or the database does not exist. */
const isFinal = ({ cause }: DatabaseUnreachableError): boolean =>
  /^(?:28...|3D000)$/.test(`${(cause as { code?: unknown } | undefined)?.code}`)

const jobsElsewhere = (url: string): UnusableDatabaseError =>
  new UnusableDatabaseError(
    `${describeUrl(url)} has no jobs, but the work files, videos or backups of earlier jobs are in the data ` +
      'directory. Move their records into it: wanctl migrate --to. To begin anew without those jobs, ' +
      'move their files away first.',
  )
