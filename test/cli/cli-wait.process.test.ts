import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { beginWanctl, controlCodes, wanctl } from '../support/cli.ts'
import { aDataDirectory, startService } from '../support/service.ts'

const quick = ['--frames', '5', '--steps', '4']

describe('wanctl generate -o', { timeout: 120_000 }, () => {
  it('leaves a video that plays, and nothing else', async () => {
    const { url } = await startService()
    const cwd = aDataDirectory()
    const args = ['generate', 'a fox [sim:step=0.3]', '-o', 'x.mp4', ...quick]
    const ended = await wanctl(args, { url, cwd })
    expect(ended).toMatchObject({ code: 0, stdout: 'x.mp4\n' })
    expect(framesOf(join(cwd, 'x.mp4'))).toBe(5)
    expect(readdirSync(cwd)).toEqual(['x.mp4'])
    // A line for each stage, and no bar: nobody watches.
    expect(ended.stderr).toMatch(/^denoising .*on GPU \d/m)
    expect(ended.stderr).not.toMatch(controlCodes)
    expect(ended.stderr).not.toContain('█')
  })

  it('takes the name of the video in a directory, and replaces what is there if it is told to', async () => {
    const { url } = await startService()
    const cwd = aDataDirectory()
    const { stdout } = await wanctl(['generate', 'a fox', '-o', '.', ...quick], { url, cwd })
    expect(stdout).toMatch(/^result_gpu\d_.*\.mp4\n$/)
    const file = join(cwd, 'mine.mp4')
    writeFileSync(file, 'mine')
    expect(await wanctl(['wait', 'latest', '-o', file], { url })).toMatchObject({ code: 6 })
    expect(readFileSync(file, 'utf8')).toBe('mine')
    expect(await wanctl(['wait', 'latest', '-o', file, '--force'], { url })).toMatchObject({
      code: 0,
    })
    expect(framesOf(file)).toBe(5)
    expect(readdirSync(cwd).toSorted()).toEqual(['mine.mp4', stdout.trim()].toSorted())
  })

  it('does not replace what has come to be there while it waited', async () => {
    const { url } = await startService()
    const file = join(aDataDirectory(), 'x.mp4')
    const running = beginWanctl(['generate', 'a [sim:step=0.3]', '-o', file, ...quick], { url })
    await running.says('denoising')
    writeFileSync(file, 'mine')
    expect(await running.end()).toMatchObject({ code: 6 })
    expect(readFileSync(file, 'utf8')).toBe('mine')
  })

  it('tells with --json what happens, a line each', async () => {
    const { url } = await startService()
    const file = join(aDataDirectory(), 'x.mp4')
    const args = ['generate', 'a fox', '-o', file, '--json', ...quick]
    const { code, stdout } = await wanctl(args, { url })
    expect(code).toBe(0)
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; job: JobJson })
    expect(events[0]?.event).toBe('accepted')
    expect(events.slice(-2)).toMatchObject([
      { job: { status: 'success', progress: 1 } },
      { event: 'saved', path: file },
    ])
  })
})

describe('wanctl generate --wait', { timeout: 120_000 }, () => {
  it('draws a bar in a terminal, with how long it will take', async () => {
    const { url } = await startService()
    const running = beginWanctl(['generate', 'a fox [sim:step=0.5]', '--wait', ...quick], {
      url,
      inTerminal: true,
    })
    await running.says(/█+░+ +\d+ % {2}denoising \d\/4 on GPU \d {2}about .* left/)
    const { code, stdout } = await running.end()
    expect(code).toBe(0)
    expect(stdout).toMatch(/█{30} 100 % {2}success/)
    // The cursor is given back.
    expect(stdout.lastIndexOf('\u001b[?25h')).toBeGreaterThan(stdout.lastIndexOf('\u001b[?25l'))
  })

  it('goes on over a service that is killed and started again', async () => {
    const dataDir = aDataDirectory()
    const env = { PORT: await aFreePort() }
    const service = await startService({ dataDir, env })
    const file = join(aDataDirectory(), 'x.mp4')
    const args = ['generate', 'a fox [sim:step=1]', '-o', file, '--frames', '5', '--steps', '8']
    const running = beginWanctl(args, { url: service.url })
    await running.says('denoising')
    await service.stop('SIGKILL')
    await running.says('the job is not lost')
    const again = await startService({ dataDir, env })
    expect(again.url).toBe(service.url)
    expect(await running.end()).toMatchObject({ code: 0, stdout: `${file}\n` })
    expect(framesOf(file)).toBe(5)
    expect(again.journal().filter(({ event }) => event === 'start')).toHaveLength(1)
  })

  it.each([
    ['in a terminal', true, 130],
    ['by a signal', false, 143],
  ])('leaves the job alone when it is interrupted %s, and says so', async (_, inTerminal, code) => {
    const service = await startService()
    const args = ['generate', 'a [sim:step=1]', '--wait', ...quick]
    const running = beginWanctl(args, { url: service.url, inTerminal })
    await running.says('denoising')
    if (inTerminal) running.child.stdin.write('\u0003')
    else running.child.kill('SIGTERM')
    const ended = await running.end()
    expect(ended.code).toBe(code)
    const { jobs } = await service.json<{ jobs: JobJson[] }>('/jobs')
    const [{ id = '', status } = {}] = jobs
    expect(status).toBe('running')
    const short = id.slice(0, 8)
    expect(ended.stdout + ended.stderr).toContain(`wanctl wait ${short}`)
    expect(ended.stdout + ended.stderr).toContain(`wanctl cancel ${short}`)
    const waited = await wanctl(['wait', short], { url: service.url })
    expect(waited).toMatchObject({ code: 0, stdout: expect.stringContaining('/files/') })
  })
})

describe('wanctl logs --follow', { timeout: 120_000 }, () => {
  it('shows each line once until the job is over, also over a service that is killed', async () => {
    const dataDir = aDataDirectory()
    const env = { PORT: await aFreePort() }
    const service = await startService({ dataDir, env })
    const id = await service.submit({ prompt: 'a fox [sim:step=1]', steps: 6 })
    await service.until(id, ({ stage }) => stage === 'denoising')
    const running = beginWanctl(['logs', '-f', id], { url: service.url })
    await running.says('Input prompt')
    await service.stop('SIGKILL')
    await running.says('Waiting for it')
    const again = await startService({ dataDir, env })
    const { code, stdout } = await running.end()
    expect(code).toBe(0)
    const log = await (await again.request(`/jobs/${id}/log`)).text()
    expect(stdout.split('\n').toSorted()).toEqual(log.split('\n').toSorted())
    expect(stdout).toContain('Finished.')
  })
})

function framesOf(file: string): number {
  const entries = ['-show_entries', 'stream=nb_read_frames', '-of', 'csv=p=0']
  return Number(
    execFileSync('ffprobe', ['-v', 'error', '-count_frames', ...entries, file], {
      encoding: 'utf8',
    }),
  )
}

function aFreePort(): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(String(port)))
    })
  })
}
