/** Configuration: one value, read once, by main. `docs/configuration.md` says the same in words. */
import { createHash } from 'node:crypto'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import * as v from 'valibot'
import { parseAllowed } from './address-guard.ts'
import type { TokenHolder } from './client.ts'
import { wanTaskNames } from './wan-tasks.ts'

/** What one process needs of host memory while its text encoder is built (facts: §4.4). */
const bytesPerLoad = 35 * 1024 ** 3

const wholeNumber = (min: number, max: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d+$/, 'must be a whole number'),
    v.toNumber(),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  )

const path = v.pipe(v.string(), v.nonEmpty('must not be empty'))

const commaSeparated = v.pipe(
  v.string(),
  v.transform((list) => list.split(',').map((entry) => entry.trim())),
)

const jsonArray = v.pipe(
  v.string(),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const parsed = v.safeParse(v.array(v.string()), safeJson(dataset.value))
    if (parsed.success) return parsed.output
    addIssue({ message: 'must be a JSON array of strings, like ["--t5_cpu"]' })
    return NEVER
  }),
)

const onOrOff = v.pipe(
  v.picklist(['0', '1'], 'must be 0 or 1'),
  v.transform((value) => value === '1'),
)

const url = v.pipe(
  v.string(),
  v.url('must be a URL, like https://videos.example.org'),
  v.transform((text) => text.replace(/\/+$/, '')),
)

const addresses = v.pipe(
  commaSeparated,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const entries = dataset.value.filter(Boolean)
    const wrong = entries.filter((entry) => !parseAllowed(entry))
    for (const entry of wrong)
      addIssue({ message: `must hold hosts, addresses or ranges like 10.0.0.0/8, not "${entry}"` })
    return wrong.length > 0 ? NEVER : entries.flatMap((entry) => parseAllowed(entry) ?? [])
  }),
)

const origins = v.pipe(
  commaSeparated,
  v.check(
    (list) => list.every((entry) => entry === '*' || URL.parse(entry)?.origin === entry),
    'must be * or origins like https://app.example.org, with nothing behind the host',
  ),
)

const shortestToken = 16

/** `name:token[:admin]`. A fault names the entry by its number and repeats nothing of it. */
const tokenHolders = v.pipe(
  commaSeparated,
  v.rawTransform(({ dataset, addIssue, NEVER }): TokenHolder[] => {
    const entries = dataset.value.map((entry) => entry.split(':'))
    const faults = entries.flatMap((entry, index) =>
      tokenFaults(entry, entries.slice(0, index)).map((fault) => `entry ${index + 1} ${fault}`),
    )
    for (const message of faults) addIssue({ message })
    return faults.length > 0 ? NEVER : entries.map(toTokenHolder)
  }),
)

function tokenFaults(
  [name = '', token = '', role, ...rest]: readonly string[],
  earlier: readonly (readonly string[])[],
): string[] {
  const rules: [kept: boolean, fault: string][] = [
    [token !== '' && rest.length === 0, 'must be name:token or name:token:admin'],
    [
      /^[A-Za-z][\w.-]{0,63}$/.test(name),
      'must have a name of 1 to 64 letters, digits and . _ - that begins with a letter',
    ],
    [
      token === '' || token.length >= shortestToken,
      `must have a token of at least ${shortestToken} characters`,
    ],
    [
      token === '' || /^[\w.~+/-]+=*$/.test(token),
      'must have a token of letters, digits and . _ ~ + / - only',
    ],
    [role === undefined || role === 'admin', 'may end in :admin and in nothing else'],
    [!earlier.some(([other]) => other === name), 'has the name of an entry before it'],
    [
      token === '' || !earlier.some(([, other]) => other === token),
      'has the token of an entry before it',
    ],
  ]
  return rules.flatMap(([kept, fault]) => (kept ? [] : [fault]))
}

const toTokenHolder = ([name = '', token = '', role]: readonly string[]): TokenHolder => ({
  name,
  isAdmin: role === 'admin',
  tokenDigest: createHash('sha256').update(token).digest(),
})

/** Half the cores for conversions: the other half serves, loads models and encodes text. */
const defaultConversions = String(Math.max(1, Math.floor(availableParallelism() / 2)))

const Env = v.object({
  HOST: v.optional(path, '127.0.0.1'),
  /** 0: any free port; the log says which. */
  PORT: v.optional(wholeNumber(0, 65_535), '8080'),
  HOST_BASE_URL: v.optional(url),
  API_TOKENS: v.optional(tokenHolders),
  JOBS_PER_HOUR: v.optional(wholeNumber(0, 1_000_000), '0'),
  TRUST_PROXY: v.optional(wholeNumber(0, 10), '0'),
  CORS_ORIGINS: v.optional(origins),
  FILE_URL_TTL_S: v.optional(wholeNumber(1, 31_536_000), '3600'),
  DATA_DIR: v.optional(path, './data'),
  RESULTS_DIR: v.optional(path),
  LOGS_DIR: v.optional(path),
  STATE_DB: v.optional(path),
  GPU_IDS: v.optional(commaSeparated),
  NVIDIA_VISIBLE_DEVICES: v.optional(v.string()),
  WAN_DIR: v.optional(path, '/opt/Wan2.2'),
  WAN_CKPT_DIR: v.optional(path, '/models/Wan2.2-TI2V-5B'),
  WAN_PYTHON: v.optional(path, 'python3'),
  WAN_TASK: v.optional(
    v.picklist(wanTaskNames, `must be one of ${wanTaskNames.join(', ')}`),
    'ti2v-5B',
  ),
  WAN_EXTRA_ARGS: v.optional(jsonArray, '[]'),
  WAN_LAUNCHER: v.optional(onOrOff, '1'),
  WAN_SDPA: v.optional(onOrOff, '0'),
  FIT_720: v.optional(v.picklist(['pad', 'scale'], 'must be pad or scale'), 'pad'),
  MAX_ATTEMPTS: v.optional(wholeNumber(1, 100), '2'),
  ORPHAN_POLICY: v.optional(
    v.picklist(['adopt', 'requeue', 'fail'], 'must be adopt, requeue or fail'),
    'adopt',
  ),
  QUARANTINE_AFTER: v.optional(wholeNumber(1, 1_000), '3'),
  QUARANTINE_S: v.optional(wholeNumber(1, 86_400), '60'),
  SHUTDOWN: v.optional(
    v.picklist(['detach', 'drain', 'kill'], 'must be detach, drain or kill'),
    'detach',
  ),
  GRACE_MS: v.optional(wholeNumber(0, 600_000), '5000'),
  JOB_TIMEOUT_S: v.optional(wholeNumber(1, 1_000_000), '7200'),
  MAX_CONCURRENT_LOADS: v.optional(wholeNumber(1, 1_000)),
  MAX_CONVERSIONS: v.optional(wholeNumber(1, 1_000), defaultConversions),
  MAX_QUEUE: v.optional(wholeNumber(1, 10_000_000), '10000'),
  MAX_FRAMES: v.optional(wholeNumber(5, 10_001), '241'),
  WEBHOOK_ALLOW: v.optional(addresses, ''),
  HEARTBEAT_S: v.optional(wholeNumber(1, 300), '15'),
  MIN_FREE_DISK_MB: v.optional(wholeNumber(0, 1_000_000_000), '2048'),
  DEFAULT_JOB_S: v.optional(wholeNumber(1, 1_000_000)),
  /** For crash tests only: SIGUSR2 then crashes the actor that the file `crash` in DATA_DIR names. */
  FAULT_INJECTION: v.optional(onOrOff, '0'),
  LOG_LEVEL: v.optional(
    v.picklist(['debug', 'info', 'warn', 'error'], 'must be debug, info, warn or error'),
    'info',
  ),
})

/** Protections that are promised for these but not built yet: better no start than a false sense of safety. */
const notYet = ['RETENTION_DAYS'] as const

export type Config = ReturnType<typeof toConfig>

/** Called once, by main. Names every bad variable at once, before anything has started. */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  // An empty variable is how compose files and unit files say "not set"; for GPU_IDS it is an error.
  const given = Object.entries(env).filter(([name, value]) => value !== '' || name === 'GPU_IDS')
  const result = v.safeParse(Env, Object.fromEntries(given))
  const faults = [
    ...(result.issues ?? []).map((issue) => `  ${v.getDotPath(issue)} ${issue.message}`),
    ...notYet
      .filter((name) => env[name] && env[name] !== '0')
      .map((name) => `  ${name} is not supported by this version; leave it unset`),
    ...(env.WAN_SDPA === '1' && env.WAN_LAUNCHER === '0' ? ['  WAN_SDPA needs WAN_LAUNCHER'] : []),
  ]
  if (result.success && faults.length === 0) return toConfig(result.output)
  throw new Error(`The environment is not usable:\n${faults.join('\n')}`)
}

function toConfig(env: v.InferOutput<typeof Env>) {
  const dataDir = resolve(env.DATA_DIR)
  const stateDb = resolve(env.STATE_DB ?? join(dataDir, 'state.db'))
  return {
    host: env.HOST,
    port: env.PORT,
    baseUrl: env.HOST_BASE_URL ?? '',
    clients: env.API_TOKENS ?? [],
    fileUrlTtlS: env.FILE_URL_TTL_S,
    jobsPerHour: env.JOBS_PER_HOUR,
    trustedProxies: env.TRUST_PROXY,
    corsOrigins: env.CORS_ORIGINS ?? [],
    dataDir,
    data: {
      workDir: join(dataDir, 'work'),
      resultsDir: resolve(env.RESULTS_DIR ?? join(dataDir, 'results')),
      logsDir: resolve(env.LOGS_DIR ?? join(dataDir, 'logs')),
      previewsDir: join(dataDir, 'previews'),
      stateDb,
    },
    linkKey: join(dataDir, 'link.key'),
    archiveDir: join(dataDir, 'archive'),
    backupsDir: join(dataDir, 'backups'),
    /** On the disk of the database, or it would be of no use to it. */
    reserve: join(dirname(stateDb), 'reserve'),
    gpuIds: env.GPU_IDS,
    nvidiaVisibleDevices: env.NVIDIA_VISIBLE_DEVICES,
    wan: {
      wanDir: resolve(env.WAN_DIR),
      ckptDir: resolve(env.WAN_CKPT_DIR),
      python: env.WAN_PYTHON,
      task: env.WAN_TASK,
      extraArgs: env.WAN_EXTRA_ARGS,
      launcher: env.WAN_LAUNCHER,
      sdpa: env.WAN_SDPA,
    },
    fit720: env.FIT_720,
    maxAttempts: env.MAX_ATTEMPTS,
    orphanPolicy: env.ORPHAN_POLICY,
    quarantineAfter: env.QUARANTINE_AFTER,
    quarantineMs: env.QUARANTINE_S * 1000,
    shutdown: env.SHUTDOWN,
    graceMs: env.GRACE_MS,
    jobTimeoutMs: env.JOB_TIMEOUT_S * 1000,
    maxConcurrentLoads: env.MAX_CONCURRENT_LOADS ?? loadsThatFit(),
    maxConversions: env.MAX_CONVERSIONS,
    maxQueue: env.MAX_QUEUE,
    maxFrames: env.MAX_FRAMES,
    webhookAllow: env.WEBHOOK_ALLOW,
    heartbeatMs: env.HEARTBEAT_S * 1000,
    minFreeBytes: env.MIN_FREE_DISK_MB * 1024 ** 2,
    defaultJobSeconds: env.DEFAULT_JOB_S,
    faultInjection: env.FAULT_INJECTION,
    logLevel: env.LOG_LEVEL,
  } as const
}

/** As many as this machine, or the container's share of it, has memory for; at least one. */
function loadsThatFit(): number {
  const limit = process.constrainedMemory()
  const total = limit > 0 && limit < totalmem() ? limit : totalmem()
  return Math.max(1, Math.floor(total / bytesPerLoad))
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
