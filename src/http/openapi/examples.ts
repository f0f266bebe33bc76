/** One of each, for the document; the compiler knows whether they are. */
import type { InferInput } from 'valibot'
import type { generateSchema } from '../request/bodies.ts'
import type { ErrorJson } from '../response/envelope.ts'
import type { ProblemJson } from '../response/problem.ts'
import type { VideoJson } from '../v1/video-view.ts'
import type { AttemptJson } from '../views/attempt-view.ts'
import type { GpuJson } from '../views/gpu-view.ts'
import type { AcceptedJson, JobDetailJson, JobJson } from '../views/job-view.ts'
import type { NodeJson } from '../views/node-view.ts'
import type { ReloadedTaskJson, TaskJson } from '../views/task-view.ts'

const id = '0b9c8a52-93f5-4b4c-9d8f-2f0c4c1d9f02'
const prompt = 'A red fox walks through fresh snow at sunrise'

export const exampleRequest: Omit<InferInput<ReturnType<typeof generateSchema>>, 'image'> = {
  prompt,
  size: '1280x720',
  seed: 2213,
}

const problem: ProblemJson = {
  type: '/problems/invalid_request',
  title: 'The request does not make sense',
  status: 422,
  code: 'invalid_request',
  detail: 'size: must be 1280x720 or 720x1280',
  field: 'size',
}

const accepted: AcceptedJson = {
  id,
  status: 'queued',
  queue_position: 2,
  eta_seconds: 1134,
  eta_p10_seconds: 1101,
  eta_p90_seconds: 1170,
  eta_at: '2026-07-31T12:18:54.000Z',
  eta_source: 'history',
  gpu_assigned: null,
  seed: 2213,
}

const job: JobJson = {
  id,
  status: 'running',
  stage: 'denoising',
  step: 17,
  total_steps: 50,
  progress: 0.388,
  eta_seconds: 305,
  eta_p10_seconds: 298,
  eta_p90_seconds: 316,
  eta_at: '2026-07-31T12:18:21.000Z',
  eta_source: 'events',
  queue_position: null,
  waiting_for: null,
  gpu_id: 1,
  node: 'gpu-7',
  filename: 'result_gpu1_2026-07-31_12-10-02_4c1d9f02.mp4',
  file_url: null,
  thumbnail_url: null,
  error: null,
  attempt: 1,
  cancel_requested: false,
  cancel_requested_at: null,
  prompt,
  negative_prompt: null,
  size: '1280x720',
  frames: 121,
  steps: 50,
  guidance: null,
  shift: null,
  seed: 2213,
  image: null,
  metadata: { order: '4711' },
  owner: 'ada',
  submitted_at: '2026-07-31T12:00:00.000Z',
  started_at: '2026-07-31T12:10:02.114Z',
  ended_at: null,
  file_deleted_at: null,
  file_lost: null,
  pinned: false,
  expires_at: null,
  file: null,
}

const attempt: AttemptJson = {
  attempt: 1,
  epoch: 1,
  gpu_id: 1,
  node: 'gpu-7',
  outcome: null,
  error: null,
  claimed_at: '2026-07-31T12:10:02.000Z',
  started_at: '2026-07-31T12:10:02.114Z',
  generated_at: null,
  ended_at: null,
  start: 'cold',
  stages: [
    { stage: 'loading', began_at: '2026-07-31T12:10:02.000Z', seconds: 61.2 },
    { stage: 'encoding', began_at: '2026-07-31T12:11:03.200Z', seconds: 2.1 },
    { stage: 'denoising', began_at: '2026-07-31T12:11:05.300Z', seconds: null },
  ],
  seconds_per_step: 7.3,
  peak_vram_bytes: 24_159_191_040,
  command: [
    'python3',
    'generate.py',
    '--task',
    'ti2v-5B',
    '--size',
    '1280*704',
    `--prompt=${prompt}`,
  ],
}

const detail: JobDetailJson = { ...job, attempts: [attempt] }

const gpu: GpuJson = {
  id: 1,
  node: 'gpu-7',
  device: '1',
  name: 'NVIDIA GeForce RTX 4090',
  uuid: 'GPU-5f1d2c3b-1a2b-4c3d-8e9f-0a1b2c3d4e5f',
  state: 'busy',
  job_id: id,
  start: 'cold',
  stage: 'denoising',
  step: 17,
  loading_unusually_long: false,
  quarantine: null,
  last_failures: [],
  actor: { state: 'running', incarnation: 1, restarts_in_period: 0, mailbox: 0, error: null },
  measured: {
    memory_used_mib: 23_040,
    memory_total_mib: 24_564,
    utilization_percent: 100,
    temperature_c: 71,
  },
}

const node: NodeJson = {
  name: 'gpu-7',
  url: 'http://10.0.0.7:8080',
  role: 'follower',
  state: 'present',
  version: '0.1.0',
  drained: false,
  has_room: true,
  hold: null,
  max_concurrent_loads: 2,
  gpus: [0, 1],
}

const template: TaskJson['template'] = {
  state: 'ready',
  reason: null,
  private_bytes: 11_274_289_152,
  shared_bytes: 11_811_160_064,
  load_seconds: 48.2,
  jobs_started: 12,
  can_reload: true,
}

const task: TaskJson = {
  ...{ task: 'ti2v-5B', checkpoint: '/models/Wan2.2-TI2V-5B', template },
  nodes: [{ node: 'local', template }],
}

const reloadedTask: ReloadedTaskJson = {
  ...task,
  reloads: [{ node: 'local', result: 'reloaded', reason: null }],
}

const openAiVideo: VideoJson = {
  id: `video_${id}`,
  object: 'video',
  model: 'wan2.2-ti2v-5b',
  status: 'in_progress',
  progress: 38,
  created_at: 1_785_499_200,
  completed_at: null,
  expires_at: null,
  prompt,
  size: '1280x720',
  seconds: '5',
  remixed_from_video_id: null,
  error: null,
  queue_position: null,
  eta_seconds: 305,
  eta_p10_seconds: 298,
  eta_p90_seconds: 316,
  eta_at: 1_785_499_745,
  eta_source: 'events',
  stage: 'denoising',
  step: 17,
  total_steps: 50,
  attempt: 1,
  gpu_id: 1,
  seed: 2213,
  num_frames: 121,
  native_size: '1280x704',
  started_at: 1_785_499_802,
  cancelled_at: null,
  metadata: { order: '4711' },
}

const openAiError: ErrorJson = {
  error: {
    message: 'seconds: must be a number of seconds, like "5"',
    type: 'invalid_request_error',
    param: 'seconds',
    code: 'invalid_seconds',
  },
}

/** By the names that the document has for their schemas. */
export const examples = {
  AcceptedJob: accepted,
  Job: job,
  JobDetail: detail,
  Attempt: attempt,
  Gpu: gpu,
  Node: node,
  Task: task,
  ReloadedTask: reloadedTask,
  Problem: problem,
  OpenAiVideo: openAiVideo,
  OpenAiError: openAiError,
}
