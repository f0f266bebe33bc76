import { delimiter } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { installFourGpus } from '../../scripts/four-gpus.ts'
import { detectGpus } from '../../src/infra/machine/gpus.ts'
import { measureGpus } from '../../src/infra/machine/nvidia-smi.ts'
import { aDataDirectory } from '../support/service.ts'

afterEach(() => vi.unstubAllEnvs())

describe('the nvidia-smi of the pictures', () => {
  it('lists four GPUs and measures each, as the service asks for it', async () => {
    const bin = aDataDirectory()
    installFourGpus(bin)
    vi.stubEnv('PATH', `${bin}${delimiter}${process.env.PATH}`)
    const gpus = await detectGpus({})
    expect(gpus.map(({ id }) => id)).toEqual([0, 1, 2, 3])
    const readings = await measureGpus()
    expect(readings.map(({ index, uuid }) => ({ id: index, uuid }))).toEqual(
      gpus.map(({ id, uuid }) => ({ id, uuid })),
    )
  })
})
