import { describe, expect, it } from 'vitest'
import type { QueueNews } from '../../../src/actors/queue/queue-protocol.ts'
import { isPatientCommand, isPatientNews } from '../../../src/service/cluster/patient-mail.ts'

const reported = (reading: object) => ({ type: 'generationReported', reading }) as QueueNews

describe('mail that may take about a second', () => {
  it('is a reading within a stage, but none that begins one', () => {
    const denoising = { stage: 'denoising', totalSteps: 40 }
    expect(isPatientNews(reported({ stage: 'loading' }))).toBe(false)
    expect(isPatientNews(reported(denoising))).toBe(false)
    expect(isPatientNews(reported({ ...denoising, step: 1 }))).toBe(false)
    expect(isPatientNews(reported({ ...denoising, step: 2 }))).toBe(true)
    expect(isPatientNews(reported({ stage: 'saving' }))).toBe(false)
  })

  it('is no news that starts or ends something', () => {
    for (const type of ['generationStarted', 'generationEnded', 'gpuReady', 'converted'] as const) {
      expect(isPatientNews({ type } as QueueNews)).toBe(false)
    }
  })

  it('is an order to tidy up, but none that somebody waits for', () => {
    expect(isPatientCommand({ type: 'discardWork' })).toBe(true)
    for (const type of ['welcome', 'restartGpu', 'lookAgain', 'removeVideo'] as const) {
      expect(isPatientCommand({ type })).toBe(false)
    }
  })
})
