/** The environment variables: how each is read, what holds when it is not set, and what it is for. */
import { availableParallelism } from 'node:os'
import * as v from 'valibot'
import { NodeName } from '../domain/node.ts'
import { wanTaskNames } from '../domain/wan-tasks.ts'
import { tokenHolders } from './token-holders.ts'
import {
  addresses,
  amount,
  commaSeparated,
  hostNames,
  jsonArray,
  nodeUrl,
  onOrOff,
  origins,
  path,
  postgresUrl,
  url,
  wholeNumber,
} from './values.ts'

/** Half the cores for conversions: the other half serves, loads models and encodes text. */
const defaultConversions = String(Math.max(1, Math.floor(availableParallelism() / 2)))

/** `otherwise`: what holds when it is not set, where no fixed value does. */
const setting = <Schema extends v.GenericSchema<string | undefined, unknown>>(
  schema: Schema,
  about: string,
  otherwise?: string,
) => v.pipe(schema, v.description(about), v.metadata({ otherwise }))

export const Env = v.object({
  HOST: setting(
    v.optional(path, '127.0.0.1'),
    'address to listen on; `0.0.0.0` is all of them: set `API_TOKENS` first',
  ),
  PORT: setting(
    v.optional(wholeNumber(0, 65_535), '8080'),
    'port to listen on; 0 is any free one, which the log names',
  ),
  HOST_BASE_URL: setting(
    v.optional(url),
    'put before `file_url` when the service sits behind a proxy',
  ),
  API_TOKENS: setting(
    v.optional(tokenHolders),
    'who may use the service: `name:token`, or `name:token:admin`, separated by commas; none: everybody may do everything',
  ),
  JOBS_PER_HOUR: setting(
    v.optional(wholeNumber(0, 1_000_000), '0'),
    'jobs that one client may submit in any 60 minutes; 0: no limit',
  ),
  TRUST_PROXY: setting(
    v.optional(wholeNumber(0, 10), '0'),
    'how many proxies of yours requests come through; so many entries of `X-Forwarded-For` are believed',
  ),
  CORS_ORIGINS: setting(
    v.optional(origins),
    'origins whose pages may use the API in a browser, `https://app.example.org`, separated by commas; `*`: all',
  ),
  ALLOWED_HOSTS: setting(
    v.optional(hostNames),
    'without tokens, names that the service may be called by, separated by commas, besides IP addresses, `localhost`, `HOST` and the host of `HOST_BASE_URL`; `*`: all',
  ),
  FILE_URL_TTL_S: setting(
    v.optional(wholeNumber(1, 31_536_000), '3600'),
    'with tokens, how long a `file_url` may be used without one at most',
  ),
  DATA_DIR: setting(
    v.optional(path, './data'),
    'holds `results/`, `logs/`, `work/`, `backups/`, `previews/`, `embeddings/`, `archive/`, `state.db`; one service each',
  ),
  RESULTS_DIR: setting(v.optional(path), 'finished videos', '`results/` in `DATA_DIR`'),
  RESULTS_SHARED: setting(
    v.optional(onOrOff, '0'),
    'with `DATABASE_URL`, `1`: `RESULTS_DIR` is [one directory](cluster.md#a-shared-directory) on a file system that all nodes mount; the same on all nodes',
  ),
  LOGS_DIR: setting(v.optional(path), 'a log for each job', '`logs/` in `DATA_DIR`'),
  STATE_DB: setting(v.optional(path), 'the database; on a local disk', '`state.db` in `DATA_DIR`'),
  DATABASE_URL: setting(
    v.optional(postgresUrl),
    'a PostgreSQL database (15 or newer) in place of `STATE_DB`, `postgres://user:password@host/name`: [PostgreSQL](postgres.md)',
    'SQLite',
  ),
  NODE_NAME: setting(
    v.optional(NodeName),
    'with `DATABASE_URL`, name of this machine in the [cluster](cluster.md), the same at each start',
    'the host name',
  ),
  NODE_URL: setting(
    v.optional(nodeUrl),
    'with `DATABASE_URL`, URL by which the other machines reach this service; port 0 is that of `PORT`',
    '`http://`, the host name, and `PORT`',
  ),
  NODE_LOST_S: setting(
    v.optional(wholeNumber(3, 3_600), '10'),
    'with `DATABASE_URL`, seconds without a sign of life after which the jobs of a machine run elsewhere',
  ),
  GPU_IDS: setting(
    v.optional(commaSeparated),
    'numbers or UUIDs, `0,1`; else `NVIDIA_VISIBLE_DEVICES`, else what `nvidia-smi -L` lists; `none`, with `DATABASE_URL`: a node without GPUs',
    'detected',
  ),
  NVIDIA_VISIBLE_DEVICES: setting(
    v.optional(v.string()),
    'asked where `GPU_IDS` is not set',
    'set by container runtimes',
  ),
  WAN_DIR: setting(
    v.optional(path, '/opt/Wan2.2'),
    'a checkout of Wan2.2, the working directory of `generate.py`',
  ),
  WAN_CKPT_DIR: setting(
    v.optional(path, '/models/Wan2.2-TI2V-5B'),
    "the model's files; `GET /ready` looks whether each is there and whole",
  ),
  WAN_PYTHON: setting(
    v.optional(path, 'python3'),
    'runs `generate.py`, its launcher and its shim; 3.9 or newer',
  ),
  WAN_TASK: setting(
    v.optional(v.picklist(wanTaskNames, `must be one of ${wanTaskNames.join(', ')}`), 'ti2v-5B'),
    'from text or an image; `t2v-A14B` from text only, `i2v-A14B` from an image only',
  ),
  WAN_EXTRA_ARGS: setting(
    v.optional(jsonArray, '[]'),
    'JSON array of further arguments for `generate.py`; they cannot override what a job asks for',
  ),
  WAN_LAUNCHER: setting(
    v.optional(onOrOff, '1'),
    'runs `generate.py` through a launcher that tells steps and stages to the millisecond, without touching the checkout; `0`: they are read from its output alone',
  ),
  WAN_SDPA: setting(
    v.optional(onOrOff, '0'),
    '`1`: where flash-attn is missing, PyTorch’s own attention stands in for it. Slower, and not byte for byte the same video. Needs the launcher',
  ),
  FAST_LOAD: setting(
    v.optional(v.picklist(['on', 'off'], 'must be on or off'), 'on'),
    'maps the text encoder from its file, within a second and with the same bits; `off`: the script makes and reads it, which takes about a minute and 23 GiB more. Needs the launcher',
  ),
  EMBEDDING_CACHE_MB: setting(
    v.optional(wholeNumber(0, 1_048_576), '256'),
    'what the text encoder makes of prompts is kept in `embeddings/` in `DATA_DIR`, up to 4 MB each; what was used longest ago goes first; 0: nothing is kept. Needs the launcher',
  ),
  WARM_START: setting(
    v.optional(v.picklist(['auto', 'on', 'off'], 'must be auto, on or off'), 'auto'),
    'forks each generation from a process that has imported Wan2.2 and holds its weights, so that a job loads nothing but the VAE: [warm start](warm-start.md). `auto`: if there is host memory for it and a probe on an idle GPU has succeeded; `on`: asks neither; `off`: each generation loads everything itself. Needs the launcher',
  ),
  STANDBY: setting(
    v.optional(v.picklist(['off', 'host'], 'must be off or host'), 'host'),
    'with warm starts, the next generation is forked before it is needed, and waits in host memory: [standby](warm-start.md#standby)',
  ),
  WARM_START_IDLE_S: setting(
    v.optional(wholeNumber(0, 31_536_000), '3600'),
    'seconds without a start after which that process is ended if the host is short of memory; the next job then starts cold, and another is built; 0: never',
  ),
  FIT_720: setting(
    v.optional(v.picklist(['pad', 'scale'], 'must be pad or scale'), 'pad'),
    'how 704 becomes 720: `pad` adds bars of 8 pixels, `scale` stretches a little. A video from an image fills what it can of its size, and bars the rest',
  ),
  MAX_ATTEMPTS: setting(v.optional(wholeNumber(1, 100), '2'), 'tries at a job, the first included'),
  ORPHAN_POLICY: setting(
    v.optional(v.picklist(['adopt', 'requeue', 'fail'], 'must be adopt, requeue or fail'), 'adopt'),
    'what becomes of a running job when what watched over it died: `adopt` goes on with it (and queues it again if it is lost), `requeue` stops it and queues it again, `fail` ends it',
  ),
  QUARANTINE_AFTER: setting(
    v.optional(wholeNumber(1, 1_000), '3'),
    'failures of different jobs in a row that put a GPU into quarantine',
  ),
  QUARANTINE_S: setting(
    v.optional(wholeNumber(1, 86_400), '60'),
    'for how long at first; doubled each time up to an hour',
  ),
  SHUTDOWN: setting(
    v.optional(v.picklist(['detach', 'drain', 'kill'], 'must be detach, drain or kill'), 'detach'),
    'on SIGTERM and SIGINT: `detach` leaves running generations to the next start, `drain` waits for running jobs, `kill` stops them and gives them back to the queue',
  ),
  GRACE_MS: setting(v.optional(wholeNumber(0, 600_000), '5000'), 'between SIGTERM and SIGKILL'),
  JOB_TIMEOUT_S: setting(
    v.optional(wholeNumber(1, 1_000_000), '7200'),
    'longest time of a generation',
  ),
  MAX_CONCURRENT_LOADS: setting(
    v.optional(wholeNumber(1, 1_000)),
    'generations that may load their model at once',
    'one per 35 GiB of RAM (24 GiB for `ti2v-5B` with `FAST_LOAD`), at least 1',
  ),
  MAX_CONVERSIONS: setting(
    v.optional(wholeNumber(1, 1_000), defaultConversions),
    'ffmpeg runs at once',
    'half the cores, at least 1',
  ),
  MAX_QUEUE: setting(
    v.optional(wholeNumber(1, 10_000_000), '10000'),
    'waiting jobs; more are refused',
  ),
  MAX_FRAMES: setting(
    v.optional(wholeNumber(5, 10_001), '241'),
    'longest video that may be asked for; the model is made for 121',
  ),
  WEBHOOK_ALLOW: setting(
    v.optional(addresses, ''),
    'hosts, addresses and ranges that webhooks may lead to though they are not public: `hooks.lan,10.0.0.0/8`. Hosts are looked up as the system does; all other names are asked of the name servers alone',
    'none',
  ),
  SYNC_WAIT_S: setting(
    v.optional(wholeNumber(1, 86_400), '600'),
    'how long `POST /v1/videos/sync` waits for its video; less than your proxy’s time-out for answers',
  ),
  HEARTBEAT_S: setting(
    v.optional(wholeNumber(1, 300), '15'),
    'between comments on silent streams of events; less than your proxy’s idle time',
  ),
  RETENTION_DAYS: setting(
    v.optional(amount(36_500), '0'),
    'how long jobs are kept after their end, with video and log; `0.5` is half a day',
    '`0` (for good)',
  ),
  MAX_RESULTS_GB: setting(
    v.optional(amount(1_000_000), '0'),
    'how many GiB all videos may take together; the oldest go first. For both see [Keeping house](operations.md#keeping-house)',
    '`0` (no limit)',
  ),
  TOMBSTONE_DAYS: setting(
    v.optional(amount(36_500), '90'),
    'how long an expired job answers 410 with the time, and is known by name; then 404',
  ),
  MIN_FREE_DISK_MB: setting(
    v.optional(wholeNumber(0, 1_000_000_000), '2048'),
    'with less room than that on any of its disks no job is taken or begun; 0: as long as there is any',
  ),
  DEFAULT_JOB_S: setting(
    v.optional(wholeNumber(1, 1_000_000)),
    'assumed duration of the task’s usual video, load included, before there is any history',
    'published figure of the GPU, else `540`',
  ),
  /** For crash tests only: SIGUSR2 then crashes the actor that the file `crash` in DATA_DIR names. */
  FAULT_INJECTION: v.optional(onOrOff, '0'),
  LOG_LEVEL: setting(
    v.optional(
      v.picklist(['debug', 'info', 'warn', 'error'], 'must be debug, info, warn or error'),
      'info',
    ),
    '`debug`, `info`, `warn`, `error`',
  ),
})

/** As `docs/configuration.md` shows them; those without a purpose are for tests. */
export const settings: readonly DocumentedSetting[] = Object.entries(Env.entries).flatMap(
  ([name, schema]) => {
    const about = v.getDescription(schema)
    if (about === undefined) return []
    const { otherwise } = v.getMetadata(schema) as { otherwise?: string }
    const fixed = schema.default === undefined ? 'none' : `\`${schema.default}\``
    return [{ name, otherwise: otherwise ?? fixed, about }]
  },
)

export type DocumentedSetting = Readonly<{ name: string; otherwise: string; about: string }>
