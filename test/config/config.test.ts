import { createHash } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bytesPerLoad, memoryBytes, readConfig } from '../../src/config/config.ts'

describe('the configuration', () => {
  it('has a value for everything when nothing is set', () => {
    expect(readConfig({})).toEqual({
      host: '127.0.0.1',
      port: 8080,
      baseUrl: '',
      clients: [],
      fileUrlTtlS: 3_600,
      jobsPerHour: 0,
      trustedProxies: 0,
      corsOrigins: [],
      allowedHosts: [],
      dataDir: resolve('data'),
      data: {
        workDir: resolve('data/work'),
        previewsDir: resolve('data/previews'),
        resultsDir: resolve('data/results'),
        logsDir: resolve('data/logs'),
        stateDb: resolve('data/state.db'),
      },
      resultsShared: false,
      node: { name: undefined, url: undefined, lostMs: 10_000 },
      linkKey: resolve('data/link.key'),
      archiveDir: resolve('data/archive'),
      backupsDir: resolve('data/backups'),
      reserve: resolve('data/reserve'),
      gpuIds: undefined,
      nvidiaVisibleDevices: undefined,
      wan: {
        wanDir: '/opt/Wan2.2',
        ckptDir: '/models/Wan2.2-TI2V-5B',
        python: 'python3',
        task: 'ti2v-5B',
        extraArgs: [],
        launcher: true,
        sdpa: false,
        fastLoad: true,
        embeddings: { directory: resolve('data/embeddings'), maxBytes: 256 * 1024 ** 2 },
      },
      warmStart: 'auto',
      hasStandby: true,
      warmStartIdleMs: 3_600_000,
      fit720: 'pad',
      maxAttempts: 2,
      orphanPolicy: 'adopt',
      graceMs: 5_000,
      jobTimeoutMs: 7_200_000,
      maxConcurrentLoads: expect.toSatisfy((loads) => Number.isSafeInteger(loads) && loads >= 1),
      maxConversions: Math.max(1, Math.floor(availableParallelism() / 2)),
      maxQueue: 10_000,
      maxFrames: 241,
      heartbeatMs: 15_000,
      syncWaitMs: 600_000,
      webhookAllow: [],
      minFreeBytes: 2048 * 1024 ** 2,
      retention: { retentionMs: 0, maxResultBytes: 0, tombstoneMs: 90 * 86_400_000 },
      defaultJobSeconds: undefined,
      faultInjection: false,
      quarantineAfter: 3,
      quarantineMs: 60_000,
      shutdown: 'detach',
      logLevel: 'info',
    })
  })

  it('is what is set', () => {
    const config = readConfig({
      HOST: '0.0.0.0',
      PORT: '0',
      HOST_BASE_URL: 'https://videos.example.org/wan',
      API_TOKENS: 'ada:0123456789abcdef, ops-1:Zm94L2Zveg+_~.-Zm94==:admin',
      FILE_URL_TTL_S: '60',
      JOBS_PER_HOUR: '20',
      TRUST_PROXY: '1',
      ALLOWED_HOSTS: 'gpu.lan, wan',
      CORS_ORIGINS: 'https://app.example.org, http://localhost:5173',
      DATA_DIR: '/srv/wan',
      RESULTS_DIR: '/srv/results',
      RESULTS_SHARED: '1',
      LOGS_DIR: 'my logs',
      STATE_DB: '/srv/state.sqlite',
      DATABASE_URL: 'postgres://wan:secret@db.lan/wan',
      NODE_NAME: 'GPU-7',
      NODE_URL: 'http://10.0.0.7:8080/',
      NODE_LOST_S: '20',
      GPU_IDS: '1, GPU-8932f937',
      NVIDIA_VISIBLE_DEVICES: 'all',
      WAN_DIR: 'Wan2.2',
      WAN_CKPT_DIR: '/models/t2v',
      WAN_PYTHON: '/opt/venv/bin/python',
      WAN_TASK: 't2v-A14B',
      WAN_EXTRA_ARGS: '["--t5_cpu", "--offload_model", "True"]',
      WAN_LAUNCHER: '1',
      WAN_SDPA: '1',
      FAST_LOAD: 'off',
      EMBEDDING_CACHE_MB: '100',
      WARM_START: 'off',
      STANDBY: 'off',
      WARM_START_IDLE_S: '60',
      FIT_720: 'scale',
      MAX_ATTEMPTS: '1',
      ORPHAN_POLICY: 'fail',
      GRACE_MS: '0',
      JOB_TIMEOUT_S: '60',
      MAX_CONCURRENT_LOADS: '3',
      MAX_CONVERSIONS: '4',
      MAX_QUEUE: '5',
      MAX_FRAMES: '81',
      WEBHOOK_ALLOW: 'hooks.lan, 10.0.0.0/8',
      MIN_FREE_DISK_MB: '512',
      RETENTION_DAYS: '0.5',
      MAX_RESULTS_GB: '200',
      TOMBSTONE_DAYS: '1',
      DEFAULT_JOB_S: '100',
      FAULT_INJECTION: '1',
      QUARANTINE_AFTER: '4',
      QUARANTINE_S: '5',
      SHUTDOWN: 'drain',
      LOG_LEVEL: 'debug',
    })
    expect(config).toEqual({
      host: '0.0.0.0',
      port: 0,
      baseUrl: 'https://videos.example.org/wan',
      clients: [
        { name: 'ada', isAdmin: false, tokenDigest: sha256('0123456789abcdef') },
        { name: 'ops-1', isAdmin: true, tokenDigest: sha256('Zm94L2Zveg+_~.-Zm94==') },
      ],
      fileUrlTtlS: 60,
      jobsPerHour: 20,
      trustedProxies: 1,
      allowedHosts: ['gpu.lan', 'wan'],
      corsOrigins: ['https://app.example.org', 'http://localhost:5173'],
      dataDir: '/srv/wan',
      data: {
        workDir: '/srv/wan/work',
        previewsDir: '/srv/wan/previews',
        resultsDir: '/srv/results',
        logsDir: resolve('my logs'),
        stateDb: '/srv/state.sqlite',
      },
      databaseUrl: 'postgres://wan:secret@db.lan/wan',
      resultsShared: true,
      node: { name: 'gpu-7', url: 'http://10.0.0.7:8080', lostMs: 20_000 },
      linkKey: '/srv/wan/link.key',
      archiveDir: '/srv/wan/archive',
      backupsDir: '/srv/wan/backups',
      reserve: '/srv/reserve',
      gpuIds: ['1', 'GPU-8932f937'],
      nvidiaVisibleDevices: 'all',
      wan: {
        wanDir: resolve('Wan2.2'),
        ckptDir: '/models/t2v',
        python: '/opt/venv/bin/python',
        task: 't2v-A14B',
        extraArgs: ['--t5_cpu', '--offload_model', 'True'],
        launcher: true,
        sdpa: true,
        fastLoad: false,
        embeddings: { directory: '/srv/wan/embeddings', maxBytes: 100 * 1024 ** 2 },
      },
      warmStart: 'off',
      hasStandby: false,
      warmStartIdleMs: 60_000,
      fit720: 'scale',
      maxAttempts: 1,
      orphanPolicy: 'fail',
      graceMs: 0,
      jobTimeoutMs: 60_000,
      maxConcurrentLoads: 3,
      maxConversions: 4,
      maxQueue: 5,
      maxFrames: 81,
      heartbeatMs: 15_000,
      syncWaitMs: 600_000,
      webhookAllow: [{ host: 'hooks.lan' }, { range: [expect.anything(), 8] }],
      minFreeBytes: 512 * 1024 ** 2,
      retention: {
        retentionMs: 43_200_000,
        maxResultBytes: 200 * 1024 ** 3,
        tombstoneMs: 86_400_000,
      },
      defaultJobSeconds: 100,
      faultInjection: true,
      quarantineAfter: 4,
      quarantineMs: 5_000,
      shutdown: 'drain',
      logLevel: 'debug',
    })
  })

  it.each([
    ['https://videos.example.org/', 'https://videos.example.org'],
    ['https://videos.example.org/wan///', 'https://videos.example.org/wan'],
    ['http://10.0.0.1:8080', 'http://10.0.0.1:8080'],
  ])('takes the slash from the end of HOST_BASE_URL: %s', (given, baseUrl) => {
    expect(readConfig({ HOST_BASE_URL: given })).toMatchObject({ baseUrl })
  })

  it('takes an empty variable for one that is not set', () => {
    const names = Object.keys(everyFault)
    expect(readConfig(Object.fromEntries(names.map((name) => [name, ''])))).toEqual(readConfig({}))
  })

  it('takes an empty GPU_IDS for what it says: no GPU', () => {
    expect(readConfig({ GPU_IDS: '' })).toMatchObject({ gpuIds: [''] })
  })

  it('does not mind what is not about it', () => {
    expect(readConfig({ PATH: '/bin', API_TOKEN: 'x', MAX_ATTEMPT: '7' })).toEqual(readConfig({}))
  })
})

const nodeUrlRule =
  'must be http or https, a host and a port, like http://gpu-1.lan:8080, without user and path'
const originRule = 'must be * or origins like https://app.example.org, with nothing behind the host'

const nameRule = 'must have a name of 1 to 64 letters, digits and . _ - that begins with a letter'

const sha256 = (token: string) => createHash('sha256').update(token).digest()

/** One bad value for each variable that has any. */
const everyFault = {
  PORT: '65536',
  HOST_BASE_URL: 'videos.example.org',
  API_TOKENS: 'ada:secret',
  FILE_URL_TTL_S: '1h',
  JOBS_PER_HOUR: '-1',
  TRUST_PROXY: 'true',
  CORS_ORIGINS: 'app.example.org',
  WAN_TASK: 's2v-14B',
  WAN_EXTRA_ARGS: '--t5_cpu',
  FIT_720: 'crop',
  MAX_ATTEMPTS: '0',
  ORPHAN_POLICY: 'retry',
  GRACE_MS: '-1',
  JOB_TIMEOUT_S: '0',
  MAX_CONCURRENT_LOADS: '1.5',
  MAX_CONVERSIONS: 'many',
  MAX_QUEUE: '1e3',
  MAX_FRAMES: '4',
  WEBHOOK_ALLOW: '10.0.0.0/33,ok.lan,*',
  HEARTBEAT_S: '0',
  SYNC_WAIT_S: '0',
  MIN_FREE_DISK_MB: '-1',
  DATABASE_URL: 'mysql://wan:secret@db.lan/wan',
  RESULTS_SHARED: 'yes',
  DEFAULT_JOB_S: ' 540',
  FAULT_INJECTION: 'true',
  WAN_LAUNCHER: 'yes',
  WAN_SDPA: '2',
  QUARANTINE_AFTER: '0',
  QUARANTINE_S: 'a minute',
  SHUTDOWN: 'now',
  LOG_LEVEL: 'verbose',
}

describe('an environment that is not usable', () => {
  it('is refused with every fault named at once', () => {
    expect(() => readConfig(everyFault)).toThrowErrorMatchingInlineSnapshot(`
      [Error: The environment is not usable:
        PORT must be at most 65535
        HOST_BASE_URL must be a URL, like https://videos.example.org
        API_TOKENS entry 1 must have a token of at least 16 characters
        JOBS_PER_HOUR must be a whole number
        TRUST_PROXY must be a whole number
        CORS_ORIGINS must be * or origins like https://app.example.org, with nothing behind the host
        FILE_URL_TTL_S must be a whole number
        RESULTS_SHARED must be 0 or 1
        DATABASE_URL must be a URL with the name of a database, like postgres://user:password@host/wan
        WAN_TASK must be one of ti2v-5B, t2v-A14B, i2v-A14B
        WAN_EXTRA_ARGS must be a JSON array of strings, like ["--t5_cpu"]
        WAN_LAUNCHER must be 0 or 1
        WAN_SDPA must be 0 or 1
        FIT_720 must be pad or scale
        MAX_ATTEMPTS must be at least 1
        ORPHAN_POLICY must be adopt, requeue or fail
        QUARANTINE_AFTER must be at least 1
        QUARANTINE_S must be a whole number
        SHUTDOWN must be detach, drain or kill
        GRACE_MS must be a whole number
        JOB_TIMEOUT_S must be at least 1
        MAX_CONCURRENT_LOADS must be a whole number
        MAX_CONVERSIONS must be a whole number
        MAX_QUEUE must be a whole number
        MAX_FRAMES must be at least 5
        WEBHOOK_ALLOW must hold hosts, addresses or ranges like 10.0.0.0/8, not "10.0.0.0/33"
        WEBHOOK_ALLOW must hold hosts, addresses or ranges like 10.0.0.0/8, not "*"
        SYNC_WAIT_S must be at least 1
        HEARTBEAT_S must be at least 1
        MIN_FREE_DISK_MB must be a whole number
        DEFAULT_JOB_S must be a whole number
        FAULT_INJECTION must be 0 or 1
        LOG_LEVEL must be debug, info, warn or error]
    `)
  })

  it('does not hide good values behind bad ones, nor bad ones behind good ones', () => {
    expect(faultsOf({ PORT: '80.5', HOST: 'localhost', FIT_720: 'pad', MAX_QUEUE: '0' })).toEqual([
      'PORT must be a whole number',
      'MAX_QUEUE must be at least 1',
    ])
  })

  it('allows more loads at once where the text encoder is mapped from its file', () => {
    const bytes = (fastLoad: boolean, task: 'ti2v-5B' | 't2v-A14B') =>
      bytesPerLoad({ fastLoad, task }) / 1024 ** 3
    expect(bytes(true, 'ti2v-5B')).toBe(24)
    expect(bytes(false, 'ti2v-5B')).toBe(35)
    expect(bytes(true, 't2v-A14B')).toBe(35)
    const loads = (env: NodeJS.ProcessEnv) => readConfig(env).maxConcurrentLoads
    const fitting = (gibibytes: number) =>
      Math.max(1, Math.floor(memoryBytes() / 1024 ** 3 / gibibytes))
    expect(loads({})).toBe(fitting(24))
    expect(loads({ FAST_LOAD: 'off' })).toBe(fitting(35))
    expect(loads({ WAN_LAUNCHER: '0' })).toBe(fitting(35))
  })

  it('is one where other machines cannot reach a node, unless all nodes are on this machine', () => {
    const DATABASE_URL = 'postgres://wan@db.lan/wan'
    const unreachable = /HOST .* is only reached from this machine/
    expect(() => readConfig({ DATABASE_URL })).toThrow(unreachable)
    const NODE_URL = 'http://10.0.0.7:8080'
    expect(() => readConfig({ DATABASE_URL, HOST: 'localhost', NODE_URL })).toThrow(unreachable)
    expect(() => readConfig({ DATABASE_URL, HOST: '0.0.0.0' })).not.toThrow()
    for (const url of ['http://127.0.0.1:0', 'http://localhost:8080', 'http://[::1]:8080']) {
      expect(() => readConfig({ DATABASE_URL, NODE_URL: url })).not.toThrow()
    }
  })

  it('is one where a node of a cluster is to stop its generations when it stops', () => {
    const DATABASE_URL = 'postgres://wan@db.lan/wan'
    const env = { DATABASE_URL, HOST: '0.0.0.0', SHUTDOWN: 'kill' }
    expect(() => readConfig(env)).toThrow('SHUTDOWN kill is not possible with DATABASE_URL')
  })

  it('is one where a directory of results is to be shared that other nodes cannot have', () => {
    const RESULTS_SHARED = '1'
    const RESULTS_DIR = '/mnt/videos'
    const alone = () => readConfig({ RESULTS_SHARED, RESULTS_DIR })
    expect(alone).toThrow('RESULTS_SHARED needs DATABASE_URL')
    const node = { DATABASE_URL: 'postgres://wan@db.lan/wan', HOST: '0.0.0.0', RESULTS_SHARED }
    expect(() => readConfig(node)).toThrow('RESULTS_SHARED needs RESULTS_DIR')
    expect(readConfig({ ...node, RESULTS_DIR })).toMatchObject({
      resultsShared: true,
      data: { resultsDir: RESULTS_DIR },
    })
  })

  it('is one where what only the launcher does is wanted without it', () => {
    expect(faultsOf({ WAN_SDPA: '1', WAN_LAUNCHER: '0' })).toEqual(['WAN_SDPA needs WAN_LAUNCHER'])
    expect(faultsOf({ FAST_LOAD: 'on', WAN_LAUNCHER: '0' })).toEqual([
      'FAST_LOAD needs WAN_LAUNCHER',
    ])
    expect(faultsOf({ WARM_START: 'on', WAN_LAUNCHER: '0' })).toEqual([
      'WARM_START=on needs WAN_LAUNCHER',
    ])
    expect(readConfig({ WAN_LAUNCHER: '0' }).wan).toMatchObject({
      ...{ launcher: false, fastLoad: false, embeddings: undefined },
    })
  })

  it.each([
    ['PORT', '-1', 'must be a whole number'],
    ['PORT', '0x50', 'must be a whole number'],
    ['PORT', '٨٠', 'must be a whole number'],
    ['MAX_ATTEMPTS', '101', 'must be at most 100'],
    ['GRACE_MS', '600001', 'must be at most 600000'],
    ['MAX_CONCURRENT_LOADS', '0', 'must be at least 1'],
    ['FAST_LOAD', '1', 'must be on or off'],
    ['WAN_EXTRA_ARGS', '{}', 'must be a JSON array of strings, like ["--t5_cpu"]'],
    ['WAN_EXTRA_ARGS', '["--steps", 3]', 'must be a JSON array of strings, like ["--t5_cpu"]'],
    ['WAN_EXTRA_ARGS', 'null', 'must be a JSON array of strings, like ["--t5_cpu"]'],
    ['ORPHAN_POLICY', 'Adopt', 'must be adopt, requeue or fail'],
    ['CORS_ORIGINS', 'https://app.example.org/', originRule],
    ['CORS_ORIGINS', 'https://app.example.org,', originRule],
    ['CORS_ORIGINS', 'https://*.example.org/x', originRule],
    ['CORS_ORIGINS', 'null', originRule],
    ['HOST_BASE_URL', '/videos', 'must be a URL, like https://videos.example.org'],
    ['NODE_URL', 'https://proxy.lan/gpu-1', nodeUrlRule],
    ['NODE_URL', 'https://user:secret@gpu-1.lan', nodeUrlRule],
    ['NODE_URL', 'http://gpu-1.lan:8080/?node=1', nodeUrlRule],
    ['NODE_URL', 'gpu-1.lan:8080', nodeUrlRule],
  ])('is one where %s is %j', (name, value, fault) => {
    expect(faultsOf({ [name]: value })).toEqual([`${name} ${fault}`])
  })

  it.each([
    ['ada', ['1 must be name:token or name:token:admin']],
    ['ada:0123456789abcdef,', ['2 must be name:token or name:token:admin', `2 ${nameRule}`]],
    ['ada:0123456789abcdef:admin:x', ['1 must be name:token or name:token:admin']],
    ['ada:0123456789abcdef:Admin', ['1 may end in :admin and in nothing else']],
    ['9lives:0123456789abcdef', [`1 ${nameRule}`]],
    ['192.0.2.1:0123456789abcdef', [`1 ${nameRule}`]],
    [':0123456789abcdef', [`1 ${nameRule}`]],
    ['ada:short-secre', ['1 must have a token of at least 16 characters']],
    ['ada:0123456789 abcdef', ['1 must have a token of letters, digits and . _ ~ + / - only']],
    ['ada:0123456789abcdef,ada:fedcba9876543210', ['2 has the name of an entry before it']],
    ['ada:0123456789abcdef,bob:0123456789abcdef', ['2 has the token of an entry before it']],
    [
      'ada:x,b b:0123456789abcdef:root',
      [
        '1 must have a token of at least 16 characters',
        `2 ${nameRule}`,
        '2 may end in :admin and in nothing else',
      ],
    ],
  ])('is one where API_TOKENS is %j, of which it repeats nothing', (value, faults) => {
    const found = faultsOf({ API_TOKENS: value })
    expect(found).toEqual(faults.map((fault) => `API_TOKENS entry ${fault}`))
    expect(found.join()).not.toMatch(/0123456789|fedcba|secre|192/)
  })

  it.each([
    ['RETENTION_DAYS', 36_500],
    ['MAX_RESULTS_GB', 1_000_000],
    ['TOMBSTONE_DAYS', 36_500],
  ])('is one where %s is no amount', (name, most) => {
    for (const value of ['-1', '1e3', 'x', '.5', '1,5', '1.', ' 1']) {
      expect(faultsOf({ [name]: value })).toEqual([`${name} must be a number, like 30 or 0.5`])
    }
    expect(faultsOf({ [name]: String(most) })).toEqual([])
    expect(faultsOf({ [name]: String(most + 1) })).toEqual([`${name} must be at most ${most}`])
  })

  function faultsOf(env: NodeJS.ProcessEnv): string[] {
    try {
      readConfig(env)
    } catch (error) {
      const [first, ...faults] = String((error as Error).message).split('\n')
      expect(first).toBe('The environment is not usable:')
      return faults.map((fault) => fault.trim())
    }
    return []
  }
})
