import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { startService } from '../support/service.ts'

describe('a finished video', { timeout: 120_000 }, () => {
  it('has 720 lines or columns, all frames, black bars and its index in front', async () => {
    const service = await startService()
    const [landscape, portrait] = await Promise.all([
      service.submit({ prompt: 'a fox', size: '1280x720', frames: 121 }),
      service.submit({ prompt: 'a heron', size: '720x1280', frames: 121 }),
    ])
    for (const [id, width, height] of [
      [landscape, 1280, 720],
      [portrait, 720, 1280],
    ] as const) {
      const job = await service.until(id)
      expect(job).toMatchObject({ status: 'success', progress: 1, eta_seconds: null, error: null })
      expect(job.file).toMatchObject({ width, height, frames: 121 })

      const file = join(service.dataDir, 'results', job.filename ?? '')
      expect(await probe(file)).toEqual({ width, height, frames: 121, rate: '24/1' })
      const bytes = readFileSync(file)
      expect(bytes.indexOf('moov')).toBeGreaterThan(0)
      expect(bytes.indexOf('moov')).toBeLessThan(bytes.indexOf('mdat'))
      expect(await blackMargins(file, width, height)).toEqual(
        width > height
          ? { top: 8, bottom: 8, left: 0, right: 0 }
          : { top: 0, bottom: 0, left: 8, right: 8 },
      )
    }
  })

  it('is as it was generated when its native size is asked for', async () => {
    const service = await startService()
    const job = await service.until(await service.submit({ prompt: 'a fox', size: '704x1280' }))
    const file = join(service.dataDir, 'results', job.filename ?? '')
    expect(job.file).toMatchObject({ width: 704, height: 1280, frames: 5 })
    expect(await blackMargins(file, 704, 1280)).toEqual({ top: 0, bottom: 0, left: 0, right: 0 })
  })

  it('fills the whole picture when FIT_720 is scale', async () => {
    const service = await startService({ env: { FIT_720: 'scale' } })
    const job = await service.until(await service.submit({ prompt: 'a fox' }))
    const file = join(service.dataDir, 'results', job.filename ?? '')
    expect(job.file).toMatchObject({ width: 1280, height: 720, frames: 5 })
    expect(await blackMargins(file, 1280, 720)).toEqual({ top: 0, bottom: 0, left: 0, right: 0 })
  })

  it('has no picture any more, and that is no error, once its file is gone', async () => {
    const service = await startService({ env: { GPU_IDS: '0' } })
    const id = await service.submit({ prompt: 'a fox' })
    const { filename } = await service.until(id)
    rmSync(join(service.dataDir, 'results', filename ?? ''))
    const paths = [
      `/jobs/${id}/thumbnail`,
      `/v1/videos/video_${id}/content?variant=spritesheet`,
      `/files/${filename}`,
    ]
    for (const path of paths)
      expect([path, (await service.request(path)).status]).toEqual([path, 404])
  })

  it('is the only file that is left of its job', async () => {
    const service = await startService()
    const { filename } = await service.until(await service.submit({ prompt: 'a fox' }))
    const left = () =>
      readdirSync(service.dataDir, { recursive: true, encoding: 'utf8' })
        .filter((path) => /^(work|results)\//.test(path))
        .toSorted()
    await expect.poll(left).toEqual([`results/${filename}`])
  })
})

const run = promisify(execFile)

async function probe(file: string) {
  const what = 'stream=width,height,r_frame_rate,nb_read_frames'
  const args = [
    '-v',
    'error',
    '-select_streams',
    'v:0',
    '-count_frames',
    '-show_entries',
    what,
    '-of',
    'json',
    file,
  ]
  const [stream] = (
    JSON.parse((await run('ffprobe', args)).stdout) as {
      streams: { width: number; height: number; r_frame_rate: string; nb_read_frames: string }[]
    }
  ).streams
  return {
    width: stream?.width,
    height: stream?.height,
    frames: Number(stream?.nb_read_frames),
    rate: stream?.r_frame_rate,
  }
}

/** How many rows and columns of the middle frame are black, from each edge. */
async function blackMargins(file: string, width: number, height: number) {
  const args = [
    '-v',
    'error',
    '-i',
    file,
    '-vf',
    "select='eq(n,2)'",
    '-frames:v',
    '1',
    '-f',
    'rawvideo',
    '-pix_fmt',
    'gray',
    '-',
  ]
  const { stdout: pixels } = await run('ffmpeg', args, {
    encoding: 'buffer',
    maxBuffer: 4 * width * height,
  })
  // Encoding leaves a little noise beside an edge, so a line is black when its average is.
  const isBlack = (sum: number, count: number) => sum / count < 24
  const row = (y: number) => {
    let sum = 0
    for (let x = 0; x < width; x++) sum += pixels[y * width + x] ?? 0
    return isBlack(sum, width)
  }
  const column = (x: number) => {
    let sum = 0
    for (let y = 0; y < height; y++) sum += pixels[y * width + x] ?? 0
    return isBlack(sum, height)
  }
  const count = (isBlackAt: (index: number) => boolean, from: number, step: 1 | -1) => {
    let lines = 0
    while (lines < 32 && isBlackAt(from + step * lines)) lines += 1
    return lines
  }
  return {
    top: count(row, 0, 1),
    bottom: count(row, height - 1, -1),
    left: count(column, 0, 1),
    right: count(column, width - 1, -1),
  }
}
