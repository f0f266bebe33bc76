import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { JobId } from '../../../src/domain/job.ts'
import { resultsDirectory } from '../../../src/infra/disk/results-directory.ts'
import { createPreviews } from '../../../src/infra/media/previews.ts'
import { makerAt } from '../../../src/infra/media/publication.ts'
import { createVideoTools } from '../../../src/infra/media/video-tools.ts'
import { type StartTool, startChild } from '../../../src/infra/processes/tool.ts'
import { irregularFiles } from '../../support/hostile-files.ts'
import { aReferenceTo, aVideo, playlistOf } from '../../support/hostile-videos.ts'
import { gpu0 } from '../../support/jobs.ts'
import { aPicture } from '../../support/pictures.ts'
import { aDataDirectory, quick } from '../../support/service.ts'

/** An attempt that has ended, and what the service then does with what it has left. */
function anEndedAttempt(
  isCurrent?: () => Promise<boolean>,
  { start = startChild }: { start?: StartTool } = {},
) {
  const root = aDataDirectory()
  const data = {
    workDir: join(root, 'work'),
    resultsDir: join(root, 'results'),
    logsDir: join(root, 'logs'),
    previewsDir: join(root, 'previews'),
    stateDb: join(root, 'state.db'),
  }
  const results = resultsDirectory(data.resultsDir)
  const jobId = v.parse(JobId, crypto.randomUUID())
  const attempt = { jobId, epoch: 1 }
  const attemptDir = join(data.workDir, jobId, '1')
  for (const directory of [attemptDir, data.resultsDir, data.previewsDir]) {
    mkdirSync(directory, { recursive: true })
  }
  writeFileSync(join(attemptDir, 'exit.json'), '{}')
  return {
    ...{ data, attempt },
    at: (name: string) => join(attemptDir, name),
    result: (name: string) => join(data.resultsDir, name),
    tools: createVideoTools({ data, results, isCurrent, fit: 'pad', start }),
    previews: createPreviews(data, startChild),
    conversion: {
      ...attempt,
      request: { ...quick, prompt: 'a fox', seed: 1, size: '1280x720' as const },
      filename: 'a.mp4',
    },
  }
}

/** Makes every other file that could be read a FIFO: whoever opens it waits for ever. */
const aTrap = (path: string): string => {
  execFileSync('mkfifo', [path])
  return path
}

describe('what a generation has left', () => {
  it.each<[what: string, leave: (path: string, other: string) => void]>([
    ['a playlist', (path, other) => writeFileSync(path, playlistOf(other))],
    ['a playlist by URL', (path, other) => writeFileSync(path, playlistOf(`file:${other}`))],
    [
      'a list of videos',
      (path, other) => writeFileSync(path, `ffconcat version 1.0\nfile '${other}'\n`),
    ],
    ['an SDP', (path) => writeFileSync(path, 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n')],
    ['text', (path) => writeFileSync(path, 'no video')],
    ['a picture', (path) => writeFileSync(path, execFileSync('cat', [aPicture('/tmp', 'x.png')]))],
    ['nothing', (path) => writeFileSync(path, '')],
  ])('is unreadable when it is %s', async (_what, leave) => {
    const { tools, conversion, at } = anEndedAttempt()
    const other = at('other.mp4')
    aVideo(other)
    leave(at('video.mp4'), other)
    expect(await tools.inspect(conversion)).toMatchObject({ how: 'unreadable' })
  })

  it.each(irregularFiles)('is missing when it is %s', async (_what, put) => {
    const { tools, conversion, at } = anEndedAttempt()
    await put(at('video.mp4'))
    expect(await tools.inspect(conversion)).toEqual({ how: 'missing' })
  })

  it('is missing when it is a link to the video of another job', async () => {
    const { tools, conversion, at, result } = anEndedAttempt()
    aVideo(result('of-another.mp4'))
    symlinkSync(result('of-another.mp4'), at('video.mp4'))
    expect(await tools.inspect(conversion)).toEqual({ how: 'missing' })
  })

  it('has no other file opened by a reference in it', async () => {
    const { tools, conversion, at } = anEndedAttempt()
    aReferenceTo(aTrap(at('other')), at('video.mp4'))
    expect(await tools.inspect(conversion)).toMatchObject({ how: 'unreadable' })
  })

  it('is converted without the picture on its cover', async () => {
    const { tools, at, conversion } = anEndedAttempt()
    aVideo(at('bare.mp4'))
    const cover = aPicture(at('.'), 'cover.png', '64x64')
    const inputs = ['-i', cover, '-i', at('bare.mp4'), '-map', '0', '-map', '1', '-c', 'copy']
    const attached = ['-disposition:v:0', 'attached_pic', at('video.mp4')]
    execFileSync('ffmpeg', ['-v', 'error', ...inputs, ...attached])
    const source = await tools.inspect(conversion)
    expect(source).toMatchObject({ facts: { width: 1280, height: 704, frames: 5 } })
    if (source.how !== 'readable') return
    const facts = await tools.encode(conversion, source.facts, AbortSignal.timeout(20_000))
    expect(facts).toMatchObject({ width: 1280, height: 720, frames: 5 })
  })
})

describe('the tools of a conversion', () => {
  it('are killed when the conversion is withdrawn, also the one that reads the source', async () => {
    const started = Promise.withResolvers<void>()
    const hangs: StartTool = (_argv, env) => {
      const run = startChild(['sleep', '600'], env)
      started.resolve()
      return run
    }
    const { tools, at, conversion } = anEndedAttempt(undefined, { start: hangs })
    aVideo(at('video.mp4'))
    const inspected = expect(tools.inspect(conversion)).rejects.toMatchObject({ how: 'killed' })
    await started.promise
    await tools.withdraw(conversion)
    await inspected
  })
})

describe('the video of an attempt', () => {
  async function encoded(isCurrent?: () => Promise<boolean>) {
    const world = anEndedAttempt(isCurrent)
    const { tools, conversion, at } = world
    aVideo(at('video.mp4'))
    const source = await tools.inspect(conversion)
    if (source.how !== 'readable') throw new Error('the generation left no video')
    await tools.encode(conversion, source.facts, AbortSignal.timeout(20_000))
    return world
  }

  it('is published under its name, and names the attempt', async () => {
    const { tools, conversion, attempt, data, result } = await encoded(async () => true)
    await tools.publish(conversion, new AbortController().signal)
    expect(readdirSync(data.resultsDir)).toEqual(['a.mp4'])
    expect(await makerAt(result('a.mp4'))).toEqual(attempt)
  })

  it('is not published when the job runs in another attempt by now', async () => {
    const { tools, conversion, data, result } = await encoded(async () => false)
    const { signal } = new AbortController()
    await expect(tools.publish(conversion, signal)).rejects.toThrow('is not published')
    expect(existsSync(result('a.mp4'))).toBe(false)
    await tools.withdraw(conversion)
    expect(readdirSync(data.resultsDir)).toEqual([])
  })

  it('is not published when the conversion was interrupted while that was found out', async () => {
    const interruption = new AbortController()
    const { tools, conversion, result } = await encoded(async () => {
      interruption.abort()
      return true
    })
    await expect(tools.publish(conversion, interruption.signal)).rejects.toThrow('abort')
    expect(existsSync(result('a.mp4'))).toBe(false)
  })
})

describe('previews', () => {
  const facts = { width: 1280, height: 720, frames: 5, durationSeconds: 0.2, bytes: 1 }
  const rest = { gpu: gpu0, facts }

  it.each(irregularFiles)('go on when the file of a video has become %s', async (_what, put) => {
    const { previews, data, attempt, result } = anEndedAttempt()
    await put(result('bad.mp4'))
    aVideo(result('good.mp4'), { size: '1280x720' })
    const ofBad = previews.of({ ...attempt, filename: 'bad.mp4', ...rest }, 'thumbnail')
    const other = { jobId: v.parse(JobId, crypto.randomUUID()), filename: 'good.mp4', ...rest }
    const pictures = await Promise.all([
      previews.of(other, 'thumbnail'),
      previews.of(other, 'spritesheet'),
    ])
    expect(readdirSync(data.previewsDir).toSorted()).toEqual(pictures.toSorted())
    await ofBad
  })

  it('are made of nothing but the file itself', async () => {
    const { previews, attempt, at, result } = anEndedAttempt()
    aVideo(at('other.mp4'))
    writeFileSync(result('list.mp4'), playlistOf(at('other.mp4')))
    await expect(
      previews.of({ ...attempt, filename: 'list.mp4', ...rest }, 'thumbnail'),
    ).rejects.toThrow('ffmpeg failed')
  })
})
