/** Every figure that is given out, with its name, its labels and what it means. `docs/metrics.md` lists them. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { durationBuckets, stageBuckets, waitBuckets } from './buckets.ts'
import { measureLoopDelay } from './loop-delay.ts'

export type Catalogue = ReturnType<typeof createCatalogue>

/**
 * Names and units as Prometheus has them: https://prometheus.io/docs/practices/naming/. Labels take words of ours, numbers
 * of our GPUs or names of our nodes, never what clients send: nobody can make the series grow. Series of GPUs have no
 * label `node`, which would rename those of a service without a cluster: `wan_gpu_node` adds it.
 */
export function createCatalogue() {
  const registry = new Registry()
  const registers = [registry]

  function counter<Label extends string = never>(name: string, help: string, ...labels: Label[]) {
    return new Counter({ name, help, labelNames: labels, registers })
  }
  function gauge<Label extends string = never>(name: string, help: string, ...labels: Label[]) {
    return new Gauge({ name, help, labelNames: labels, registers })
  }
  function histogram<Label extends string = never>(
    name: string,
    help: string,
    buckets: readonly number[],
    ...labels: Label[]
  ) {
    return new Histogram({ name, help, labelNames: labels, buckets: [...buckets], registers })
  }

  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: never })
  for (const name of misnamed) registry.removeSingleMetric(name)
  measureLoopDelay(registry)

  return {
    registry,

    buildInfo: gauge(
      'wan_build_info',
      'Which version this is and what it runs; always 1.',
      ...(['version', 'nodejs', 'task'] as const),
    ),

    jobs: gauge('wan_jobs', 'Jobs that are not over, by status.', 'status'),
    jobsSubmitted: counter('wan_jobs_submitted_total', 'Jobs that were taken.'),
    jobsEnded: counter(
      'wan_jobs_ended_total',
      'Jobs that are over, by how they ended; code says why, of errors alone.',
      ...(['status', 'code'] as const),
    ),
    jobsRequeued: counter(
      'wan_jobs_requeued_total',
      'Attempts after which their job was queued again, by the failure, or given_back.',
      'reason',
    ),
    jobWait: histogram(
      'wan_job_wait_seconds',
      'From the submission of a job to its first claim.',
      waitBuckets,
    ),
    jobStage: histogram(
      'wan_job_stage_seconds',
      'How long each stage of attempts took that led to a video.',
      stageBuckets,
      'stage',
    ),
    jobDuration: histogram(
      'wan_job_duration_seconds',
      'From the submission of a job to its end, by how it ended.',
      durationBuckets,
      'status',
    ),
    cancelDuration: histogram(
      'wan_job_cancel_seconds',
      'From the wish to cancel a running job until nothing of it was left.',
      [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60],
    ),

    queueOldest: gauge(
      'wan_queue_oldest_age_seconds',
      'How long the job has waited that was submitted first; 0 when none waits.',
    ),
    queueLimit: gauge('wan_queue_limit_jobs', 'How many jobs may wait (MAX_QUEUE).'),
    queueOpen: gauge('wan_queue_open', '1 as long as jobs are taken; 0 while the service stops.'),
    queueHasRoom: gauge(
      'wan_queue_has_room',
      '0 while a disk is short of room (MIN_FREE_DISK_MB) or inodes and no job is taken or begun.',
    ),
    queueHeld: gauge(
      'wan_queue_held',
      '1 while no job is started for this reason: a disk is short of room, or the environment fails.',
      'reason',
    ),

    deletionsHeld: gauge(
      'wan_deletions_held_seconds',
      'For how much longer nothing is deleted by age, as the clock is in doubt; 0 when it is not.',
    ),

    nodeInfo: gauge(
      'wan_node_info',
      'The name of this node; always 1. It joins the instance of a target to its node.',
      'node',
    ),
    leader: gauge('wan_leader', '1 while this service runs the queue, 0 while another node does.'),
    nodeState: gauge(
      'wan_node_state',
      '1 for the state that the node is in, 0 for all others; from the leader.',
      ...(['node', 'state'] as const),
    ),
    nodeHasRoom: gauge(
      'wan_node_has_room',
      '0 while a disk of the node is short of room or inodes, and no job is started there; from the leader.',
      'node',
    ),
    gpuNode: gauge(
      'wan_gpu_node',
      'The node of each GPU; always 1; from the leader.',
      ...(['gpu', 'node'] as const),
    ),

    gpuInfo: gauge(
      'wan_gpu_info',
      'The model of each GPU, where it is known; always 1.',
      ...(['gpu', 'model'] as const),
    ),
    gpuState: gauge(
      'wan_gpu_state',
      '1 for the state that the GPU is in, 0 for all others.',
      ...(['gpu', 'state'] as const),
    ),
    gpuSlowLoad: gauge(
      'wan_gpu_loading_unusually_long',
      '1 while the GPU loads a model for several times as long as usual.',
      'gpu',
    ),
    gpuBusy: counter('wan_gpu_busy_seconds_total', 'Time with a generation on the GPU.', 'gpu'),
    gpuSeconds: counter(
      'wan_gpu_seconds_total',
      'Time of the GPU by what it went into.',
      ...(['gpu', 'state'] as const),
    ),
    gpuQuarantines: counter(
      'wan_gpu_quarantines_total',
      'How often the GPU was put into quarantine.',
      ...(['gpu', 'reason'] as const),
    ),
    gpuAdoptions: counter(
      'wan_gpu_adoptions_total',
      'Generations taken up that a former life of the service or of the actor had begun.',
      'gpu',
    ),
    generationStarts: counter(
      'wan_generation_starts_total',
      'Generations by how they were started: forked from a template (warm), not (cold), or not although there was one (fallback).',
      'start',
    ),
    standbyStarts: counter(
      'wan_standby_starts_total',
      'Warm starts whose process had been forked before it was needed.',
    ),
    templateReady: gauge('wan_template_ready', '1 while generations are forked from a template.'),
    templateLoad: histogram(
      'wan_template_load_seconds',
      'How long a template took to import Wan2.2 and to load its weights.',
      stageBuckets,
    ),
    templateEnds: counter(
      'wan_template_ends_total',
      'Templates that ended, or could not be loaded, by the reason.',
      'reason',
    ),
    gpuUtilization: gauge(
      'wan_gpu_utilization_ratio',
      'As nvidia-smi says, from 0 to 1; absent when it does not answer.',
      'gpu',
    ),
    gpuMemoryUsed: gauge(
      'wan_gpu_memory_used_bytes',
      'As nvidia-smi says; absent when it does not answer.',
      'gpu',
    ),
    gpuMemory: gauge(
      'wan_gpu_memory_bytes',
      'All memory of the GPU, as nvidia-smi says; absent when it does not answer.',
      'gpu',
    ),
    gpuTemperature: gauge(
      'wan_gpu_temperature_celsius',
      'As nvidia-smi says; absent when it does not answer.',
      'gpu',
    ),

    launcherFallbacks: counter(
      'wan_launcher_fallbacks_total',
      'Attempts in which a part of the launcher left its work to the script; the log has the reason.',
      'part',
    ),

    promptEncodings: counter(
      'wan_prompt_encodings_total',
      'Prompts and negative prompts whose embedding was kept from an earlier generation (`cache`), or made (`encoder`).',
      'source',
    ),

    actorUp: gauge('wan_actor_up', '1 while the actor runs.', 'actor'),
    actorRestarts: counter(
      'wan_actor_restarts_total',
      'How often the actor was started again, after a crash or on request.',
      'actor',
    ),
    actorMailbox: gauge(
      'wan_actor_mailbox_messages',
      'Messages that the actor has not dealt with.',
      'actor',
    ),

    etaError: histogram(
      'wan_eta_error_ratio',
      'How far off an estimate was, as a share of the time that was left; by when it was made.',
      [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5],
      'checkpoint',
    ),
    etaOutcomes: counter(
      'wan_eta_outcomes_total',
      'Outcomes within the interval that was told (p10 to p90), before it (early) or after it (late).',
      ...(['checkpoint', 'interval'] as const),
    ),

    webhookPending: gauge('wan_webhook_pending_deliveries', 'Deliveries that have yet to arrive.'),
    webhookOldest: gauge(
      'wan_webhook_oldest_pending_age_seconds',
      'How old the oldest event is that has yet to arrive; 0 when there is none.',
    ),
    webhookAttempts: counter(
      'wan_webhook_attempts_total',
      'Attempts to deliver: delivered, to be tried again (pending), or failed for good.',
      'outcome',
    ),

    httpRequests: counter(
      'wan_http_requests_total',
      'Requests by route, method and class of the status; of unknown paths the route is none.',
      ...(['method', 'route', 'status'] as const),
    ),
    httpDuration: histogram(
      'wan_http_request_duration_seconds',
      'Until the answer began; of long polls that includes what they waited for.',
      [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      ...(['method', 'route'] as const),
    ),
    httpConnections: gauge('wan_http_connections', 'Open connections.'),
    httpConnectionsCut: counter(
      'wan_http_connections_cut_total',
      'Connections that the service closed, by reason: stalled, over_budget, evicted, refused.',
      'reason',
    ),
    httpStreams: gauge('wan_http_event_streams', 'Open streams of server-sent events.'),

    commitDuration: histogram(
      'wan_database_commit_seconds',
      'How long a commit of the queue took, until it was durable.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    ),
    commitOperations: histogram(
      'wan_database_commit_operations',
      'How many changes a commit of the queue held.',
      [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000],
    ),
    commitFailures: counter(
      'wan_database_commit_failures_total',
      'Commits of the queue that failed; what they held is kept and written later, or refused.',
    ),
    databaseSize: gauge('wan_database_size_bytes', 'The database with its write-ahead log.'),

    diskFree: gauge('wan_disk_free_bytes', 'Room on the disk of each place.', 'place'),
    diskFreeFiles: gauge(
      'wan_disk_free_files',
      'Free inodes on the disk of each place; absent where their number is not fixed.',
      'place',
    ),
    diskLimit: gauge(
      'wan_disk_limit_bytes',
      'With less free than that on any disk no job is taken or begun (MIN_FREE_DISK_MB).',
    ),

    ready: gauge('wan_ready_check', '1 if the check of GET /ready holds.', 'check'),
    scrapeSuccess: gauge(
      'wan_scrape_success',
      '0 if a part of the service did not answer this scrape; its figures are then absent.',
      'part',
    ),
  }
}

/** Gauges whose names end as those of counters do; what they tell, others tell as well. */
const misnamed = [
  'nodejs_active_resources_total',
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
]

/** As good as: milliseconds between two looks of prom-client at the delay of the event loop, which we measure ourselves. */
const never = 2 ** 31 - 1
