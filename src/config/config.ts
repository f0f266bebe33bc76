/** Configuration: one value, read once, by main. */

import { totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import * as v from 'valibot'
import { dayMs } from '../domain/time.ts'
import type { WanTask } from '../domain/wan-tasks.ts'
import { Env } from './settings.ts'

/** What one process needs of host memory while its text encoder is built (facts: §4.4). */
const bytesWithTextEncoder = 35 * 1024 ** 3

/**
 * Without that: the DiT of `ti2v-5B` in float32 (20 GB), its VAE, and the libraries. Files that are
 * mapped do not count, as the kernel can take their memory back. Reckoned from the sizes of the files.
 */
const bytesOfFastLoad = 24 * 1024 ** 3

type LoadingSettings = Readonly<{ fastLoad: boolean; task: WanTask }>

/** Host memory that one load needs at most. The two DiTs of the A14B tasks take no less than before. */
export const bytesPerLoad = ({ fastLoad, task }: LoadingSettings): number =>
  fastLoad && task === 'ti2v-5B' ? bytesOfFastLoad : bytesWithTextEncoder

export type Config = ReturnType<typeof toConfig>

/** Called once, by main. Names every bad variable at once, before anything has started. */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  // An empty variable is how compose files and unit files say "not set"; for GPU_IDS it is an error.
  const given = Object.entries(env).filter(([name, value]) => value !== '' || name === 'GPU_IDS')
  const result = v.safeParse(Env, Object.fromEntries(given))
  const faults = [
    ...(result.issues ?? []).map((issue) => `  ${v.getDotPath(issue)} ${issue.message}`),
    ...(env.WAN_SDPA === '1' && env.WAN_LAUNCHER === '0' ? ['  WAN_SDPA needs WAN_LAUNCHER'] : []),
    ...(env.FAST_LOAD === 'on' && env.WAN_LAUNCHER === '0'
      ? ['  FAST_LOAD needs WAN_LAUNCHER']
      : []),
    ...(result.success ? unreachable(result.output) : []),
    ...(env.DATABASE_URL && env.SHUTDOWN === 'kill'
      ? [
          '  SHUTDOWN kill is not possible with DATABASE_URL. Use detach, or drain where generations end with the service.',
        ]
      : []),
    ...(result.success ? notShareable(result.output) : []),
    ...(env.WARM_START === 'on' && env.WAN_LAUNCHER === '0'
      ? ['  WARM_START=on needs WAN_LAUNCHER']
      : []),
  ]
  if (result.success && faults.length === 0) return toConfig(result.output)
  throw new Error(`The environment is not usable:\n${faults.join('\n')}`)
}

/** Other machines could not reach this node. */
function unreachable({
  DATABASE_URL,
  HOST,
  NODE_URL,
}: Pick<v.InferOutput<typeof Env>, 'DATABASE_URL' | 'HOST' | 'NODE_URL'>): string[] {
  if (DATABASE_URL === undefined || !loopback.test(HOST)) return []
  if (NODE_URL !== undefined && loopback.test(new URL(NODE_URL).hostname)) return []
  return [
    `  HOST ${HOST} is only reached from this machine, and with DATABASE_URL other machines forward requests to this ` +
      'one. Set HOST=0.0.0.0, and API_TOKENS. If all nodes run on this machine, set NODE_URL=http://127.0.0.1:<PORT>.',
  ]
}

/** Other nodes could not use this directory. */
function notShareable({
  DATABASE_URL,
  RESULTS_DIR,
  RESULTS_SHARED,
}: Pick<v.InferOutput<typeof Env>, 'DATABASE_URL' | 'RESULTS_DIR' | 'RESULTS_SHARED'>): string[] {
  if (!RESULTS_SHARED) return []
  if (DATABASE_URL === undefined) {
    return [
      '  RESULTS_SHARED needs DATABASE_URL: it is for several nodes with one directory. Without DATABASE_URL, RESULTS_DIR ' +
        'alone may be on a network file system.',
    ]
  }
  if (RESULTS_DIR !== undefined) return []
  return ['  RESULTS_SHARED needs RESULTS_DIR: the directory that all nodes mount.']
}

const loopback = /^(?:localhost|127\..*|\[?::1\]?|\[?::ffff:127\..*)$/i

function toConfig(env: v.InferOutput<typeof Env>) {
  const dataDir = resolve(env.DATA_DIR)
  const stateDb = resolve(env.STATE_DB ?? join(dataDir, 'state.db'))
  const wan = {
    wanDir: resolve(env.WAN_DIR),
    ckptDir: resolve(env.WAN_CKPT_DIR),
    python: env.WAN_PYTHON,
    task: env.WAN_TASK,
    extraArgs: env.WAN_EXTRA_ARGS,
    launcher: env.WAN_LAUNCHER,
    sdpa: env.WAN_SDPA,
    fastLoad: env.FAST_LOAD === 'on' && env.WAN_LAUNCHER,
    embeddings:
      env.EMBEDDING_CACHE_MB > 0 && env.WAN_LAUNCHER
        ? {
            directory: join(dataDir, 'embeddings'),
            maxBytes: env.EMBEDDING_CACHE_MB * 1024 ** 2,
          }
        : undefined,
  } as const
  return {
    host: env.HOST,
    port: env.PORT,
    baseUrl: env.HOST_BASE_URL ?? '',
    clients: env.API_TOKENS ?? [],
    fileUrlTtlS: env.FILE_URL_TTL_S,
    jobsPerHour: env.JOBS_PER_HOUR,
    trustedProxies: env.TRUST_PROXY,
    corsOrigins: env.CORS_ORIGINS ?? [],
    allowedHosts: env.ALLOWED_HOSTS ?? [],
    dataDir,
    data: {
      workDir: join(dataDir, 'work'),
      resultsDir: resolve(env.RESULTS_DIR ?? join(dataDir, 'results')),
      logsDir: resolve(env.LOGS_DIR ?? join(dataDir, 'logs')),
      previewsDir: join(dataDir, 'previews'),
      stateDb,
    },
    databaseUrl: env.DATABASE_URL,
    /** All nodes have the same `resultsDir`. */
    resultsShared: env.RESULTS_SHARED,
    node: { name: env.NODE_NAME, url: env.NODE_URL, lostMs: env.NODE_LOST_S * 1000 },
    linkKey: join(dataDir, 'link.key'),
    archiveDir: join(dataDir, 'archive'),
    backupsDir: join(dataDir, 'backups'),
    /** On the disk of the database, or it would be of no use to it. */
    reserve: join(dirname(stateDb), 'reserve'),
    gpuIds: env.GPU_IDS,
    nvidiaVisibleDevices: env.NVIDIA_VISIBLE_DEVICES,
    wan,
    warmStart: env.WARM_START,
    hasStandby: env.STANDBY === 'host',
    warmStartIdleMs: env.WARM_START_IDLE_S * 1000,
    fit720: env.FIT_720,
    maxAttempts: env.MAX_ATTEMPTS,
    orphanPolicy: env.ORPHAN_POLICY,
    quarantineAfter: env.QUARANTINE_AFTER,
    quarantineMs: env.QUARANTINE_S * 1000,
    shutdown: env.SHUTDOWN,
    graceMs: env.GRACE_MS,
    jobTimeoutMs: env.JOB_TIMEOUT_S * 1000,
    maxConcurrentLoads: env.MAX_CONCURRENT_LOADS ?? loadsThatFit(wan),
    maxConversions: env.MAX_CONVERSIONS,
    maxQueue: env.MAX_QUEUE,
    maxFrames: env.MAX_FRAMES,
    webhookAllow: env.WEBHOOK_ALLOW,
    heartbeatMs: env.HEARTBEAT_S * 1000,
    syncWaitMs: env.SYNC_WAIT_S * 1000,
    minFreeBytes: env.MIN_FREE_DISK_MB * 1024 ** 2,
    retention: {
      // However little it is, it is not 0, which means something else.
      retentionMs: Math.ceil(env.RETENTION_DAYS * dayMs),
      maxResultBytes: Math.ceil(env.MAX_RESULTS_GB * 1024 ** 3),
      tombstoneMs: Math.ceil(env.TOMBSTONE_DAYS * dayMs),
    },
    defaultJobSeconds: env.DEFAULT_JOB_S,
    faultInjection: env.FAULT_INJECTION,
    logLevel: env.LOG_LEVEL,
  } as const
}

/** This machine's, or the container's share of it. */
export function memoryBytes(): number {
  const limit = process.constrainedMemory()
  return limit > 0 && limit < totalmem() ? limit : totalmem()
}

/** As many as there is memory for; at least one. */
const loadsThatFit = (wan: LoadingSettings): number =>
  Math.max(1, Math.floor(memoryBytes() / bytesPerLoad(wan)))
