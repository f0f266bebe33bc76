import { describe, expect, it, vi } from 'vitest'
import { detectGpus, identifyGpus } from '../../../src/infra/machine/gpus.ts'
import type { NvidiaSmiAnswer } from '../../../src/infra/machine/nvidia-smi.ts'

const rtx = {
  index: 0,
  name: 'NVIDIA GeForce RTX 4090',
  uuid: 'GPU-8932f937-d72c-4106-c12f-20bd9faed9f6',
}
const h200 = { index: 1, name: 'NVIDIA H200', uuid: 'GPU-1a02e2a4-0b1f-4f9d-8f1e-2d4c5b6a7f80' }
const mig = 'MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f'

const bothGpus = async (): Promise<NvidiaSmiAnswer> => ({ ok: true, gpus: [rtx, h200] })
const noGpus = async (): Promise<NvidiaSmiAnswer> => ({ ok: true, gpus: [] })
const noAnswer = async (): Promise<NvidiaSmiAnswer> => ({ ok: false, why: 'nvidia-smi is away' })

const listedRtx = { id: 0, device: '0', name: rtx.name, uuid: rtx.uuid }
const listedH200 = { id: 1, device: '1', name: h200.name, uuid: h200.uuid }

describe('GPU_IDS', () => {
  it('takes numbers as they are, in their order, without waiting for nvidia-smi', async () => {
    const list = vi.fn(() => new Promise<NvidiaSmiAnswer>(() => {}))
    expect(await detectGpus({ gpuIds: ['3', '0'] }, list)).toEqual([
      { id: 3, device: '3' },
      { id: 0, device: '0' },
    ])
    expect(list).not.toHaveBeenCalled()
  })

  it('goes before NVIDIA_VISIBLE_DEVICES', async () => {
    expect(await detectGpus({ gpuIds: ['1'], nvidiaVisibleDevices: '0,2' })).toEqual([
      { id: 1, device: '1' },
    ])
  })

  it.each([
    {
      does: 'gives a UUID the number that nvidia-smi has for it',
      gpuIds: [h200.uuid, rtx.uuid],
      list: bothGpus,
      gpus: [
        { ...listedH200, device: h200.uuid },
        { ...listedRtx, device: rtx.uuid },
      ],
    },
    {
      does: 'understands a shortened UUID',
      gpuIds: ['GPU-1a02'],
      list: bothGpus,
      gpus: [{ ...listedH200, device: 'GPU-1a02' }],
    },
    {
      does: 'numbers UUIDs by their place when nvidia-smi does not answer',
      gpuIds: [h200.uuid, rtx.uuid],
      list: noAnswer,
      gpus: [
        { id: 0, device: h200.uuid },
        { id: 1, device: rtx.uuid },
      ],
    },
    {
      does: 'gives an unknown UUID no number that another GPU has',
      gpuIds: [mig, 'GPU-gone', '0', h200.uuid],
      list: bothGpus,
      gpus: [
        { id: 2, device: mig },
        { id: 3, device: 'GPU-gone' },
        listedRtx,
        { ...listedH200, device: h200.uuid },
      ],
    },
    {
      does: 'takes two slices of one GPU',
      gpuIds: [mig, 'MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0'],
      list: bothGpus,
      gpus: [
        { id: 0, device: mig },
        { id: 1, device: 'MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0' },
      ],
    },
  ])('$does', async ({ gpuIds, list, gpus }) => {
    expect(await detectGpus({ gpuIds }, list)).toEqual(gpus)
  })

  it.each([
    { gpuIds: [], says: 'GPU_IDS is empty' },
    { gpuIds: [''], says: 'GPU_IDS is empty' },
    { gpuIds: ['0', '', '1'], says: 'GPU_IDS names ""' },
    { gpuIds: ['0', '1', '0'], says: 'GPU_IDS names 0 twice' },
    { gpuIds: [mig, mig], says: `GPU_IDS names ${mig} twice` },
    { gpuIds: ['0', rtx.uuid], says: `GPU_IDS names GPU 0 twice, as 0 and as ${rtx.uuid}` },
    { gpuIds: ['gpu0'], says: 'GPU_IDS names "gpu0"' },
    { gpuIds: ['-1'], says: 'GPU_IDS names "-1"' },
    { gpuIds: ['01'], says: 'GPU_IDS names "01"' },
    { gpuIds: ['1.5'], says: 'GPU_IDS names "1.5"' },
    { gpuIds: ['0 1'], says: 'GPU_IDS names "0 1"' },
    { gpuIds: ['GPU-'], says: 'GPU_IDS names "GPU-"' },
    { gpuIds: ['all'], says: 'GPU_IDS names "all"' },
    { gpuIds: ['99999999999999999999'], says: 'GPU_IDS names "99999999999999999999"' },
  ])('refuses $gpuIds and says: $says', async ({ gpuIds, says }) => {
    await expect(detectGpus({ gpuIds }, bothGpus)).rejects.toThrow(says)
  })
})

describe('NVIDIA_VISIBLE_DEVICES', () => {
  it.each([
    { visible: '1', gpus: [listedH200] },
    { visible: ' 1 , 0 ', gpus: [listedH200, listedRtx] },
    { visible: '0,0', gpus: [listedRtx] },
    { visible: h200.uuid, gpus: [{ ...listedH200, device: h200.uuid }] },
    { visible: mig, gpus: [{ id: 0, device: mig }] },
    { visible: 'all', gpus: [listedRtx, listedH200] },
    { visible: 'void', gpus: [listedRtx, listedH200] },
    { visible: '', gpus: [listedRtx, listedH200] },
    { visible: ' , ', gpus: [listedRtx, listedH200] },
    { visible: undefined, gpus: [listedRtx, listedH200] },
  ])('"$visible" means $gpus.length of the GPUs that nvidia-smi lists', async (row) => {
    expect(await detectGpus({ nvidiaVisibleDevices: row.visible }, bothGpus)).toEqual(row.gpus)
  })

  it.each(['2,3', '1,2', 'nvidia.com/gpu=0', '0:1'])(
    'gives way to nvidia-smi where the GPUs of "%s" are numbered otherwise',
    async (visible) => {
      const gpus = await detectGpus({ nvidiaVisibleDevices: visible }, bothGpus)
      expect(gpus).toEqual([listedRtx, listedH200])
    },
  )

  it('is taken at its word when nvidia-smi does not answer', async () => {
    const gpus = await detectGpus({ nvidiaVisibleDevices: '2,3' }, noAnswer)
    expect(gpus).toEqual([
      { id: 2, device: '2' },
      { id: 3, device: '3' },
    ])
  })

  it('is an error when it hides every GPU', async () => {
    await expect(detectGpus({ nvidiaVisibleDevices: 'none' }, bothGpus)).rejects.toThrow(
      'NVIDIA_VISIBLE_DEVICES is "none"',
    )
  })

  it('is an error when nobody can say what it means', async () => {
    await expect(
      detectGpus({ nvidiaVisibleDevices: 'nvidia.com/gpu=0' }, noAnswer),
    ).rejects.toThrow('NVIDIA_VISIBLE_DEVICES names "nvidia.com/gpu=0"')
  })
})

describe('a machine without a usable GPU', () => {
  it.each([
    { list: noAnswer, says: 'nvidia-smi is away' },
    { list: noGpus, says: 'nvidia-smi lists none' },
  ])('is told why ($says), and how to try the service all the same', async ({ list, says }) => {
    const detection = detectGpus({}, list)
    await expect(detection).rejects.toThrow(says)
    await expect(detection).rejects.toThrow(/make demo.*wanctl serve --sim/)
  })
})

describe('GPUs without UUIDs', () => {
  it('get those that nvidia-smi has for their numbers', async () => {
    const gpus = [{ device: '1' }, { device: '7' }]
    expect(await identifyGpus(gpus, bothGpus)).toEqual([
      { device: '1', uuid: h200.uuid },
      { device: '7' },
    ])
    expect(await identifyGpus(gpus, noAnswer)).toEqual(gpus)
  })
})
