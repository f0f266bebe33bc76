import {
  appendFileSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { VideoFile } from '../../../src/domain/video-file.ts'
import { resultsDirectory } from '../../../src/infra/disk/results-directory.ts'
import { createVideoFiles } from '../../../src/infra/media/video-files.ts'
import { contentSignature } from '../../../src/infra/media/video-signature.ts'
import { aVideo, gpu0, jobId } from '../../support/jobs.ts'
import { aFileOf } from '../../support/mp4.ts'

const filename = 'fox.mp4'
let resultsDir: string
let path: string
beforeEach(() => {
  const directory = mkdtempSync(join(tmpdir(), 'video-files-'))
  resultsDir = join(directory, 'results')
  path = join(resultsDir, filename)
  mkdirSync(resultsDir)
  mkdirSync(join(directory, 'previews'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
})

describe('the file of a video', () => {
  it('is found as long as it is the published one, in a copy as well', async () => {
    const video = await published()
    const files = someFiles()
    expect(await files.find(video)).toBe('own')
    expect(await files.arePresent([{ gpu: gpu0, filename, bytes: video.facts.bytes }])).toEqual([
      true,
    ])
    copyFileSync(path, `${path}.copy`)
    renameSync(`${path}.copy`, path)
    expect(await files.find(video)).toBe('own')
    expect(await files.remove(video)).toBe('own')
    expect(existsSync(path)).toBe(false)
    expect(await files.find(video)).toBe('missing')
    expect(await files.remove(video)).toBe('missing')
  })

  it('is not looked at while it is being removed', async () => {
    const video = await published()
    const files = someFiles()
    const removal = files.remove(video)
    const again = files.remove(video)
    const findings = [files.find(video), files.find(video)]
    expect(await Promise.all([...findings, removal, again])).toEqual([
      'missing',
      'missing',
      'own',
      'missing',
    ])
  })

  it('is there when its removal has failed', async () => {
    const video = await published()
    const directory = join(dirname(resultsDir), 'previews', `${video.jobId}.thumbnail.webp`)
    mkdirSync(join(directory, 'in the way'), { recursive: true })
    const files = someFiles()
    await expect(files.remove(video)).rejects.toThrow()
    expect(await files.find(video)).toBe('own')
  })

  it.each<[what: string, damage: () => void]>([
    ['cut', () => writeFileSync(path, aFileOf(jobId(1), 10))],
    ['longer', () => appendFileSync(path, 'x')],
    ['another of the same job and length', () => writeFileSync(path, aFileOf(jobId(1)))],
  ])('is not sent but deleted on request when it is %s', async (_what, damage) => {
    const video = await published()
    const files = someFiles()
    expect(await files.find(video)).toBe('own')
    damage()
    expect(await files.find(video)).toBe('changed')
    expect(await files.remove(video)).toBe('changed')
    expect(existsSync(path)).toBe(false)
  })

  it.each<[what: string, replace: () => unknown]>([
    ['the file of another job', () => writeFileSync(path, aFileOf(jobId(2), 999))],
    ['another file', () => writeFileSync(path, 'film')],
    ['an empty file', () => writeFileSync(path, '')],
    ['a directory', () => mkdirSync(path)],
    ['a link', () => symlinkSync('/etc/passwd', path)],
    ['a broken link', () => symlinkSync('/nowhere', path)],
    ['a socket', listen],
  ])('is neither sent nor deleted when it is %s', async (_what, replace) => {
    const video = await published()
    rmSync(path)
    await replace()
    const files = someFiles()
    expect(await files.find(video)).toBe('other')
    expect(await files.arePresent([{ gpu: gpu0, filename, bytes: video.facts.bytes }])).toEqual([
      false,
    ])
    expect(await files.remove(video)).toBe('other')
    expect(lstatSync(path)).toBeDefined()
    expect(await files.exists('FOX.mp4')).toBe(true)
  })

  it('says nothing of a file when the directory is away', async () => {
    const video = await published()
    renameSync(resultsDir, `${resultsDir}.away`)
    const files = someFiles()
    await expect(files.find(video)).rejects.toThrow('ENOENT')
    await expect(files.arePresent([{ gpu: gpu0, filename, bytes: 1 }])).rejects.toThrow('ENOENT')
    await expect(files.remove(video)).rejects.toThrow('ENOENT')
    renameSync(`${resultsDir}.away`, resultsDir)
    expect(await files.find(video)).toBe('own')
  })
})

describe('the file of a video of an earlier version, of which only the length is recorded', () => {
  it.each<[what: string, content: Buffer, finding: string]>([
    ['the job’s', aFileOf(jobId(1)), 'own'],
    ['of another job', aFileOf(jobId(2)), 'other'],
    ['without a comment', Buffer.from('film'), 'own'],
  ])('is recognised when it is %s', async (_what, content, finding) => {
    writeFileSync(path, content)
    expect(await someFiles().find(recorded(content.length))).toBe(finding)
  })

  it('is not the job’s when it has another length', async () => {
    writeFileSync(path, aFileOf(jobId(1)))
    expect(await someFiles().find(recorded(7))).toBe('changed')
    writeFileSync(path, 'film')
    expect(await someFiles().find(recorded(7))).toBe('other')
  })
})

const recorded = (bytes: number, signature?: string): VideoFile => ({
  jobId: jobId(1),
  gpu: gpu0,
  filename,
  facts: { ...aVideo({ bytes }), ...(signature !== undefined && { signature }) },
})

async function published(): Promise<VideoFile> {
  const content = aFileOf(jobId(1))
  writeFileSync(path, content)
  const handle = await open(path)
  try {
    return recorded(content.length, await contentSignature(handle, content.length))
  } finally {
    await handle.close()
  }
}

async function listen(): Promise<void> {
  const server = net.createServer()
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(path, resolve))
}

const someFiles = () =>
  createVideoFiles(
    resultsDirectory(resultsDir),
    { previewsDir: join(resultsDir, '..', 'previews') },
    { isInUse: () => false },
  )
