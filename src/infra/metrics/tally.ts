import { checkpoints } from '../../domain/estimate.ts'
import { type GpuSpell, type GpuWork, gpuWorks, isBusy } from '../../domain/gpu-work.ts'
import { failureCodes, type GpuId, type JobId, stages, type Timestamp } from '../../domain/job.ts'
import {
  cutReasons,
  embeddingSources,
  launchedParts,
  type Observation,
  type Observe,
  startKinds,
  templateEnds,
} from '../../domain/observation.ts'
import { clamp, wallNow } from '../../domain/time.ts'
import type { Catalogue } from './catalogue.ts'

export type Tally = Readonly<{
  observe: Observe
  /** Counts what has not been counted yet: requests, and what has gone by of what is still going on. */
  catchUp(): void
}>

/** Looks on and counts what happens, from zero with the process, as Prometheus expects; decides nothing. */
export function createTally(known: Catalogue, gpus: readonly GpuId[]): Tally {
  /** When running jobs were wished away. */
  const canceling = new Map<JobId, Timestamp>()
  /** The work of each GPU, and up to when it has been counted. */
  const atWork = new Map<GpuId, Readonly<{ work: GpuWork; countedAt: number }>>()
  const startedAt = performance.now()
  const requests = new Map<string, readonly RequestSeries[]>()
  beginAtZero(known, gpus)

  return {
    observe,
    catchUp() {
      for (const gpu of atWork.keys()) countWork(gpu)
      for (const [route, all] of requests) {
        for (const series of all) countRequests(route, series)
      }
    },
  }

  function observe(observation: Observation): void {
    switch (observation.saw) {
      case 'jobSubmitted':
        known.jobsSubmitted.inc()
        break
      case 'jobClaimed':
        known.jobWait.observe(Math.max(0, observation.waitedMs) / 1000)
        break
      case 'jobRequeued':
        known.jobsRequeued.inc({ reason: observation.code ?? givenBack })
        break
      case 'stagePassed':
        known.jobStage.observe({ stage: observation.stage }, observation.tookMs / 1000)
        break
      case 'cancelRequested':
        canceling.set(observation.jobId, observation.at)
        break
      case 'jobEnded':
        noteEnd(observation)
        break
      case 'gpuWork':
        noteWork(observation)
        break
      case 'gpuQuarantined':
        known.gpuQuarantines.inc({ gpu: observation.gpu, reason: observation.reason })
        break
      case 'generationAdopted':
        known.gpuAdoptions.inc({ gpu: observation.gpu })
        break
      case 'launcherFellBack':
        known.launcherFallbacks.inc({ part: observation.part })
        break
      case 'promptEncoded':
        known.promptEncodings.inc({ source: observation.source })
        break
      case 'templateLoaded':
        known.templateLoad.observe(observation.tookMs / 1000)
        break
      case 'templateUsed':
        known.templateReady.set(1)
        break
      case 'templateEnded':
        known.templateReady.set(0)
        known.templateEnds.inc({ reason: observation.end })
        break
      case 'generationStarted':
        known.generationStarts.inc({ start: observation.start })
        if (observation.standby) known.standbyStarts.inc()
        break
      case 'committed':
        known.commitDuration.observe(observation.tookMs / 1000)
        known.commitOperations.observe(observation.operations)
        break
      case 'commitFailed':
        known.commitFailures.inc()
        break
      case 'estimateJudged': {
        const { checkpoint, offBy, interval } = observation
        known.etaError.observe({ checkpoint }, Math.abs(offBy))
        known.etaOutcomes.inc({ checkpoint, interval })
        break
      }
      case 'deliveryAttempted':
        known.webhookAttempts.inc({ outcome: observation.became })
        break
      case 'disksMeasured':
        for (const { place, freeBytes, freeFiles } of observation.disks) {
          known.diskFree.set({ place }, freeBytes)
          if (freeFiles !== undefined) known.diskFreeFiles.set({ place }, freeFiles)
        }
        break
      case 'deletionsJudged':
        known.deletionsHeld.set((observation.hold?.leftMs ?? 0) / 1000)
        break
      case 'requestAnswered':
        noteRequest(observation)
        break
      case 'eventStreamOpened':
        known.httpStreams.inc()
        break
      case 'eventStreamClosed':
        known.httpStreams.dec()
        break
      case 'connectionOpened':
        known.httpConnections.inc()
        break
      case 'connectionClosed':
        known.httpConnections.dec()
        break
      case 'connectionCut':
        known.httpConnectionsCut.inc({ reason: observation.reason })
        break
      default:
        observation satisfies never
    }
  }

  function noteRequest({ route, status, tookMs, method: asked }: RequestAnswered): void {
    const method = methods.has(asked) ? asked : 'other'
    const statusClass = Math.floor(status / 100)
    const ofRoute = requests.get(route) ?? []
    const found = ofRoute.find((one) => one.statusClass === statusClass && one.method === method)
    const series = found ?? { method, statusClass, seconds: [] }
    if (!found) requests.set(route, [...ofRoute, series])
    series.seconds.push(tookMs / 1000)
    if (series.seconds.length === maxUncounted) countRequests(route, series)
  }

  function countRequests(route: string, { method, statusClass, seconds }: RequestSeries): void {
    known.httpRequests.inc({ method, route, status: `${statusClass}xx` }, seconds.length)
    const duration = known.httpDuration.labels({ method, route })
    for (const one of seconds) duration.observe(one)
    seconds.length = 0
  }

  function noteEnd({ jobId, end, submittedAt, at }: Extract<Observation, { saw: 'jobEnded' }>) {
    const { status } = end
    known.jobsEnded.inc({ status, code: status === 'error' ? end.code : '' })
    known.jobDuration.observe({ status }, Math.max(0, at - submittedAt) / 1000)
    const wishedAt = canceling.get(jobId)
    canceling.delete(jobId)
    if (wishedAt !== undefined && status === 'canceled')
      known.cancelDuration.observe(Math.max(0, at - wishedAt) / 1000)
  }

  function noteWork({ gpus, rest }: Extract<Observation, { saw: 'gpuWork' }>): void {
    for (const [gpu, spells] of gpus) countWork(gpu, spells)
    if (rest === 'same') return
    for (const gpu of atWork.keys()) {
      if (gpus.has(gpu)) continue
      countWork(gpu)
      atWork.delete(gpu)
    }
  }

  /**
   * Counts what has gone by, by what is known of it now. Counted time stays, so that nothing is
   * counted twice; the time before the first spell belongs to what the GPU was at until then.
   */
  function countWork(gpu: GpuId, spells: readonly GpuSpell[] = []): void {
    const [now, clock] = [performance.now(), wallNow()]
    let { work, countedAt: at } = atWork.get(gpu) ?? { work: undefined, countedAt: startedAt }
    const count = (until: number) => {
      if (work && until > at) countSeconds(gpu, work, (until - at) / 1000)
      at = until
    }
    for (const { work: next, since = clock } of spells) {
      count(clamp(now - (clock - since), at, now))
      work = next
    }
    count(now)
    if (work) atWork.set(gpu, { work, countedAt: now })
  }

  function countSeconds(gpu: GpuId, state: GpuWork, seconds: number): void {
    known.gpuSeconds.inc({ gpu, state }, seconds)
    if (isBusy(state)) known.gpuBusy.inc({ gpu }, seconds)
  }
}

type RequestAnswered = Extract<Observation, { saw: 'requestAnswered' }>

/** What has been answered alike, and how long each of it took that is not counted yet. */
type RequestSeries = Readonly<{ method: string; statusClass: number; seconds: number[] }>

/** Counted one by one, they took a tenth of a poll. */
const maxUncounted = 1_000

/** What has not happened yet has happened no times: rates would miss the first otherwise. */
function beginAtZero(known: Catalogue, gpus: readonly GpuId[]): void {
  for (const status of ['success', 'canceled'] as const) {
    known.jobsEnded.inc({ status, code: '' }, 0)
  }
  for (const status of ['success', 'error', 'canceled'] as const) known.jobDuration.zero({ status })
  for (const code of failureCodes) {
    known.jobsEnded.inc({ status: 'error', code }, 0)
    known.jobsRequeued.inc({ reason: code }, 0)
  }
  known.jobsRequeued.inc({ reason: givenBack }, 0)
  for (const stage of stages) known.jobStage.zero({ stage })
  for (const gpu of gpus) {
    known.gpuBusy.inc({ gpu }, 0)
    for (const state of gpuWorks) known.gpuSeconds.inc({ gpu, state }, 0)
    known.gpuAdoptions.inc({ gpu }, 0)
    for (const reason of ['failures', 'unkillable'] as const)
      known.gpuQuarantines.inc({ gpu, reason }, 0)
  }
  for (const checkpoint of checkpoints) {
    known.etaError.zero({ checkpoint })
    for (const interval of ['early', 'within', 'late'] as const)
      known.etaOutcomes.inc({ checkpoint, interval }, 0)
  }
  known.templateReady.set(0)
  for (const reason of templateEnds) known.templateEnds.inc({ reason }, 0)
  for (const start of startKinds) known.generationStarts.inc({ start }, 0)
  for (const reason of cutReasons) known.httpConnectionsCut.inc({ reason }, 0)
  for (const source of embeddingSources) known.promptEncodings.inc({ source }, 0)
  for (const part of launchedParts) known.launcherFallbacks.inc({ part }, 0)
  for (const outcome of ['delivered', 'pending', 'failed'] as const)
    known.webhookAttempts.inc({ outcome }, 0)
}

/** Back in the queue without having failed. */
const givenBack = 'given_back'

const methods = new Set(['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS'])
