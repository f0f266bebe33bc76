import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createOutputReader,
  maxLineBytes,
  type OutputReader,
  type OutputStream,
} from '../../../../src/infra/generation/progress/output-reader.ts'
import { drawBar } from '../../../support/bar.ts'
import { bytesHeld } from '../../../support/memory.ts'

const totalSteps = 50

const info = (message: string) => `[2025-12-27 09:15:13,421] INFO: ${message}\n`
const bar = (step: number) => `  2%|▏         | ${step}/50 [00:22<18:02, 22.08s/it]`
const redraw = (step: number) => `\r${bar(step)}`
const emptyBar = '  0%|          | 0/50 [00:00<?, ?it/s]'
const firstDraw = `\r${emptyBar}`
const lastDraws = `${'\r100%|██████████| 50/50 [18:26<00:00, 22.12s/it]'.repeat(2)}\n`
const shards = '\rLoading checkpoint shards: 100%|██████████| 3/3 [00:05<00:00,  1.71s/it]\n'

const stdoutOfARun = [
  info('offload_model is not specified, set to True.'),
  info("Generation job args: Namespace(task='ti2v-5B', size='1280*704', sample_steps=50)"),
  info('Input prompt: Zwei Katzen boxen, 两只猫'),
  info('Creating WanTI2V pipeline.'),
  info('loading /models/models_t5_umt5-xxl-enc-bf16.pth'),
  info('loading /models/Wan2.2_VAE.pth'),
  info('Creating WanModel from /models'),
  info('Generating video ...'),
  info('Saving generated video to /data/work/out.mp4'),
  info('Finished.'),
]

const traceback = (error: string) =>
  'Traceback (most recent call last):\n' +
  '  File "/opt/Wan2.2/generate.py", line 575, in <module>\n    generate(args)\n' +
  `${error}\n`

const gpuOutOfMemory =
  'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.06 GiB. GPU 0 has a total ' +
  'capacity of 23.64 GiB of which 1.20 GiB is free. Including non-PyTorch memory, this process ' +
  'has 22.43 GiB memory in use.'

function aReader() {
  const reader = createOutputReader({ totalSteps, startedAt: 0 })
  return {
    reader,
    stdout: (text: string) => reader.feed('stdout', Buffer.from(text)),
    stderr: (text: string) => reader.feed('stderr', Buffer.from(text)),
  }
}

/** What is left to know once all has been read. */
function afterReading(output: Partial<Record<OutputStream, string>>): OutputReader {
  const { reader, stdout, stderr } = aReader()
  stdout(output.stdout ?? '')
  stderr(output.stderr ?? '')
  reader.end()
  return reader
}

/** Where it is, without the times. */
function positionOf({ reading }: OutputReader) {
  if (!reading) return undefined
  const { stage, step, totalSteps } = reading
  return step === undefined ? { stage } : { stage, step, totalSteps }
}

describe('the reading of a generation', () => {
  it('goes through the stages of a run', () => {
    const { reader, stdout, stderr } = aReader()
    const heard = [
      ...stdoutOfARun.slice(0, 7).map((line) => () => stdout(line)),
      () => stderr(shards),
      () => stdout(info('Generating video ...')),
      () => stderr(firstDraw),
      () => stderr(redraw(1)),
      () => stderr(redraw(49)),
      () => stderr(lastDraws),
      () => stdout(info('Saving generated video to /data/work/out.mp4')),
    ]
    const readings = heard.map((hear) => {
      hear()
      return positionOf(reader)
    })

    expect(readings).toEqual([
      ...Array(8).fill({ stage: 'loading' }),
      { stage: 'encoding' },
      { stage: 'denoising', step: 0, totalSteps },
      { stage: 'denoising', step: 1, totalSteps },
      { stage: 'denoising', step: 49, totalSteps },
      { stage: 'decoding' },
      { stage: 'saving' },
    ])
  })

  it('starts with any output at all, be it half a line', () => {
    const { reader, stdout, stderr } = aReader()
    stdout('')
    expect(reader.reading).toBeUndefined()
    stderr('/usr/lib')
    expect(positionOf(reader)).toEqual({ stage: 'loading' })
  })

  it.each(['Generating video ...', 'Generating video...'])('knows `%s`', (message) => {
    expect(positionOf(afterReading({ stdout: info(message) }))).toEqual({ stage: 'encoding' })
  })

  it.each([
    'Generating video ...\n',
    ' [2025-12-27 09:15:13,421] INFO: Generating video ...\n',
    '[2025-12-27 09:15:13] INFO: Generating video ...\n',
    '[2025-12-27 09:15:13,421] ERROR: Generating video ...\n',
    info('Generating video ... of two cats'),
    info('Input prompt: Generating video ...'),
  ])('takes no notice of %j', (line) => {
    expect(positionOf(afterReading({ stdout: line }))).toEqual({ stage: 'loading' })
  })

  it('takes no notice of INFO lines on stderr', () => {
    expect(positionOf(afterReading({ stderr: stdoutOfARun.join('') }))).toEqual({
      stage: 'loading',
    })
  })

  it.each([
    ['with no rate yet', emptyBar, 0],
    ['slower than a step per second', '  2%|▏         | 1/50 [00:22<18:02, 22.08s/it]', 1],
    ['faster than that', ' 20%|██        | 10/50 [00:03<00:12,  3.21it/s]', 10],
    ['that takes hours', ' 84%|████████▍ | 42/50 [2612:30:00<497:37:08, 223928.57s/it]', 42],
    ['of a rank', '[rank3]:   2%|▏         | 1/50 [00:22<18:02, 22.08s/it]', 1],
    ['in colour', '\x1b[32m  2%|▏         | 1/50 [00:22<18:02, 22.08s/it]\x1b[0m\x1b[K', 1],
    ['over another line', '\x1b[A\x1b]0;wan\x07  2%|▏         | 1/50 [00:22<18:02, 22.08s/it]', 1],
    [
      'with an error written right after it',
      `${bar(1)}Traceback (most recent call last):\n  File "x", line 1, in y\nValueError\n`,
      1,
    ],
  ])('reads a bar %s', (_, text, step) => {
    expect(afterReading({ stderr: text }).reading).toMatchObject({ stage: 'denoising', step })
  })

  it.each([
    ['for the shards of the checkpoint', shards],
    ['for as many shards as steps', shards.replace('3/3', '50/50')],
    ['for another number of steps', '100%|██████████| 25/25 [00:05<00:00,  1.71s/it]\n'],
    ['beyond its end', '102%|██████████| 51/50 [00:05<00:00,  1.71s/it]\n'],
    ['in another unit', '100%|██████████| 50/50 [00:05<00:00,  1.71MB/s]\n'],
    ['inside a sentence', `it drew ${bar(3)}\n`],
    ['far to the right', `        ${bar(3)}\n`],
    ['that is cut off', '  2%|▏         | 1/50 [00:22<18:02, 22.08s\n'],
  ])('takes no notice of a bar %s', (_, text) => {
    expect(positionOf(afterReading({ stderr: text }))).toEqual({ stage: 'loading' })
  })

  it('takes no notice of a perfect bar on stdout', () => {
    const stdout = info('Generating video ...') + redraw(20) + lastDraws
    expect(positionOf(afterReading({ stdout }))).toEqual({ stage: 'encoding' })
  })

  it('sees a step at once, although its line is ended only by the next one', () => {
    const { reader, stderr } = aReader()
    for (const byte of Buffer.from(redraw(7))) reader.feed('stderr', Buffer.of(byte))
    expect(reader.reading).toMatchObject({ step: 7 })
    expect(stderr(redraw(8))).toEqual([])
    expect(reader.reading).toMatchObject({ step: 8 })
  })

  it('follows the rank that is ahead', () => {
    const stderr = [3, 2, 3, 4, 3].map((step) => `\r[rank${step}]: ${bar(step)}`).join('')
    expect(afterReading({ stderr }).reading).toMatchObject({ stage: 'denoising', step: 4 })
  })

  it('stays at decoding when the bar of another clip begins', () => {
    const { reader, stderr } = aReader()
    stderr(firstDraw + lastDraws)
    stderr(firstDraw + redraw(1))
    expect(positionOf(reader)).toEqual({ stage: 'decoding' })
  })

  it('is the same whichever stream is heard first', () => {
    const { reader, stdout, stderr } = aReader()
    stdout(stdoutOfARun.join(''))
    expect(positionOf(reader)).toEqual({ stage: 'encoding' })
    stderr(firstDraw + redraw(49))
    expect(reader.reading).toMatchObject({ stage: 'denoising', step: 49 })
    stderr(lastDraws)
    expect(positionOf(reader)).toEqual({ stage: 'saving' })
  })

  it('believes a run without a bar that it saved only at its end', () => {
    const { reader, stdout } = aReader()
    stdout(stdoutOfARun.join(''))
    expect(positionOf(reader)).toEqual({ stage: 'encoding' })
    reader.end()
    expect(positionOf(reader)).toEqual({ stage: 'saving' })
  })

  it('is not moved by tracebacks in a run that goes on', () => {
    const { reader, stdout, stderr } = aReader()
    stdout(info('Generating video ...') + info(`no Triton\n${traceback("KeyError: 'x'")}`))
    stderr(`${redraw(3)}\n--- Logging error ---\n${traceback('UnicodeEncodeError: x')}`)
    expect(positionOf(reader)).toEqual({ stage: 'denoising', step: 3, totalSteps })
    stderr(redraw(4))
    expect(positionOf(reader)).toEqual({ stage: 'denoising', step: 4, totalSteps })
  })

  it('is not led past encoding by a prompt with line breaks', () => {
    const { reader, stdout, stderr } = aReader()
    stdout(info(`Input prompt: cats\n${stdoutOfARun.join('')}${bar(50)}`))
    expect(positionOf(reader)).toEqual({ stage: 'encoding' })
    stderr(firstDraw)
    expect(positionOf(reader)).toEqual({ stage: 'denoising', step: 0, totalSteps })
  })
})

describe('the times in a reading', () => {
  const startedAt = Date.UTC(2025, 11, 27, 9, 14)
  const minute = 60_000
  const stamped = (at: number, message: string) => {
    const [day, time] = new Date(at).toISOString().split(/[TZ]/)
    return `[${day} ${time?.replace('.', ',')}] INFO: ${message}\n`
  }
  const timed = (steps = totalSteps) => {
    const reader = createOutputReader({ totalSteps: steps, startedAt })
    return {
      reader,
      stdout: (text: string, at?: number) => reader.feed('stdout', Buffer.from(text), at),
      stderr: (text: string, at?: number) => reader.feed('stderr', Buffer.from(text), at),
    }
  }

  it('are those of its log', () => {
    const { reader, stdout, stderr } = timed()
    stdout(info('Creating WanTI2V pipeline.'), startedAt + 5_000)
    expect(reader.reading).toEqual({
      stage: 'loading',
      source: 'log',
      began: { loading: startedAt },
    })
    stdout(stamped(startedAt + minute, 'Generating video ...'), startedAt + minute + 3)
    const sampling = startedAt + 2 * minute
    stderr(firstDraw, sampling)
    stderr('\r  2%|▏         | 1/50 [00:30<24:30, 30.00s/it]', sampling + 30_000)
    stderr('\r  4%|▏         | 2/50 [00:40<16:00, 20.00s/it]', sampling + 40_000)
    expect(reader.reading).toEqual({
      ...{ stage: 'denoising', step: 2, totalSteps, source: 'log' },
      began: { loading: startedAt, encoding: startedAt + minute, denoising: sampling },
      steppedAt: sampling + 40_000,
      secondsPerStep: 10,
    })
    stderr(lastDraws, sampling + 10 * minute)
    const saving = sampling + 12 * minute
    stdout(stamped(saving, 'Saving generated video to /data/x.mp4'), saving + 2)
    expect(reader.reading).toMatchObject({
      stage: 'saving',
      began: { denoising: sampling, decoding: sampling + 10 * minute, saving },
    })
  })

  it.each([
    ['of tomorrow', startedAt + 24 * 60 * minute],
    ['from before it began', startedAt - 1],
    ['of no day there is', Number.NaN],
  ])('are not believed of a line with a stamp %s', (_, stamp) => {
    const { reader, stdout } = timed()
    const line = Number.isNaN(stamp)
      ? '[2025-99-99 99:99:99,999] INFO: Generating video ...\n'
      : stamped(stamp, 'Generating video ...')
    stdout(line, startedAt + minute)
    expect(reader.reading?.began).toEqual({ loading: startedAt, encoding: startedAt + minute })
  })

  it('are those of the true line, which comes after one that a prompt forged', () => {
    const { reader, stdout } = timed()
    const forged = stamped(startedAt + 1, 'Generating video ...')
    stdout(`Input prompt: cats\n${forged}`, startedAt + 10)
    stdout(stamped(startedAt + minute, 'Generating video ...'), startedAt + minute)
    expect(reader.reading?.began?.encoding).toBe(startedAt + minute)
  })

  it('of a file that was written to long ago, or in the future, are never before the start', () => {
    const { reader, stdout, stderr } = timed()
    stdout(info('Generating video ...'), 5)
    stderr(redraw(20), 6)
    expect(Object.values(reader.reading?.began ?? {})).toEqual([startedAt, startedAt, startedAt])
    expect(reader.reading?.steppedAt).toBe(startedAt)
  })

  it('wait for the end of what there is to be read', () => {
    const { reader, stderr } = timed(4)
    const bars = drawBar([30, 10, 10, 10], startedAt)
    for (const { text } of bars.slice(0, 3)) stderr(text)
    expect(reader.reading).toMatchObject({ stage: 'denoising', step: 2 })
    expect(reader.reading).not.toHaveProperty('secondsPerStep')
    stderr(bars[3]?.text ?? '', startedAt + 50_000)
    expect(reader.reading).toMatchObject({ step: 3, steppedAt: startedAt + 50_000 })
    expect(reader.reading?.secondsPerStep).toBeCloseTo(10, 1)
  })

  it('are nearly the same when all is read again from the beginning', () => {
    const took = fc.double({ min: 0.02, max: 90, noNaN: true })
    const steady = fc
      .tuple(took, fc.double({ min: 1, max: 4, noNaN: true }), fc.integer({ min: 2, max: 50 }))
      .map(([seconds, warmUp, steps]) => ({
        seconds: [seconds * warmUp, ...Array<number>(steps).fill(seconds)],
        isSteady: true,
      }))
    const ragged = fc
      .array(took, { minLength: 2, maxLength: 50 })
      .map((seconds) => ({ seconds, isSteady: false }))
    fc.assert(
      fc.property(fc.oneof(steady, ragged), fc.nat(50), ({ seconds, isSteady }, upTo) => {
        const beganAt = startedAt + 90_000
        const drawn = drawBar(seconds, beganAt).slice(0, upTo + 1)
        const lastAt = drawn.at(-1)?.at ?? beganAt
        const live = timed(seconds.length)
        for (const { text, at } of drawn) live.stderr(text, at)
        const again = timed(seconds.length)
        again.stderr(drawn.map(({ text }) => text).join(''), lastAt)

        const [then, now] = [live.reader.reading, again.reader.reading]
        expect(now?.step).toBe(then?.step)
        expect(now?.steppedAt).toBe(then?.steppedAt)
        expect(Math.abs((now?.began?.denoising ?? 0) - beganAt)).toBeLessThanOrEqual(1_000)
        const pace = then?.secondsPerStep ?? 0
        if (!isSteady) return
        // What two decimals of a smoothed rate leave open.
        expect(Math.abs((now?.secondsPerStep ?? 0) - pace)).toBeLessThanOrEqual(0.06 + 0.1 * pace)
      }),
      { numRuns: 300 },
    )
  })

  it('say how long a step takes to a hundredth when read again, although the bar counts seconds', () => {
    const { reader, stderr } = timed()
    const bars = drawBar([4, ...Array<number>(49).fill(1.37)], startedAt).slice(0, 31)
    stderr(bars.map(({ text }) => text).join(''), bars.at(-1)?.at)
    expect(reader.reading?.secondsPerStep).toBeCloseTo(1.37, 1)
    expect(Math.abs((reader.reading?.began?.denoising ?? 0) - startedAt)).toBeLessThan(300)
  })

  it('are worked out by the bar’s clock where something else was written after it', () => {
    const { reader, stderr } = timed(3)
    const [none, one, two] = drawBar([10, 10, 10], startedAt).map(({ text }) => text)
    stderr(`${none}${one}`, startedAt + 10_000)
    stderr(`${two}\nUserWarning: late\n`, startedAt + 29_000)
    expect(Math.abs((reader.reading?.steppedAt ?? 0) - startedAt - 20_000)).toBeLessThan(100)
  })

  it('stand still when another clip begins, and for ranks that are behind', () => {
    const { reader, stderr } = timed()
    stderr(firstDraw + lastDraws, startedAt + minute)
    const before = reader.reading
    stderr(firstDraw + redraw(1), startedAt + 2 * minute)
    expect(reader.reading).toEqual(before)
  })
})

describe('the evidence of a generation', () => {
  it('tells that it finished', () => {
    expect(afterReading({ stdout: stdoutOfARun.join('') }).evidence).toEqual({ finished: true })
    expect(afterReading({ stdout: 'Finished.\n' }).evidence.finished).toBe(false)
  })

  it.each([
    [info('save_video failed, error: [Errno 32] Broken pipe'), '[Errno 32] Broken pipe'],
    [info('save_video failed, error: None'), 'None'],
    [info('save_video failed, error: '), ''],
    [
      "cache_video failed, error: result type Float can't be cast\n",
      "result type Float can't be cast",
    ],
  ])('tells why it could not save: %j', (line, saveError) => {
    const [saving, finished] = stdoutOfARun.slice(-2)
    const { evidence } = afterReading({ stdout: `${saving}${line}${finished}` })
    expect(evidence).toMatchObject({ saveError, finished: true })
  })

  it('forgets what a prompt said about the end once the run goes on', () => {
    const forged = info('save_video failed, error: none of it is true') + info('Finished.')
    const stdout = info(`Input prompt: cats\n${forged}`) + info('Generating video ...')
    const { evidence } = afterReading({ stdout })
    expect(evidence).not.toHaveProperty('saveError')
    expect(evidence.finished).toBe(false)
  })

  it.each([
    ['a traceback', traceback("ModuleNotFoundError: No module named 'decord'")],
    [
      'a traceback with warnings and bars after it',
      `${traceback("ModuleNotFoundError: No module named 'decord'")}` +
        `  warnings.warn('leaked semaphores')\nUserWarning: leaked\n${redraw(3)}\n`,
    ],
    [
      'a traceback whose message goes on',
      `${traceback("ModuleNotFoundError: No module named 'decord'")}For debugging consider this\n`,
    ],
    [
      'the last of several tracebacks',
      `${traceback("KeyError: 'x'")}\nDuring handling of the above exception, another exception ` +
        `occurred:\n\n${traceback("ModuleNotFoundError: No module named 'decord'")}`,
    ],
    [
      'a traceback before those that Python only reports',
      `${traceback("ModuleNotFoundError: No module named 'decord'")}` +
        `Exception ignored in: <function tqdm.__del__>\n${traceback('TypeError: gone')}`,
    ],
    [
      'a traceback right after a bar',
      `${redraw(1)}${traceback("ModuleNotFoundError: No module named 'decord'")}`,
    ],
  ])('quotes the error of %s', (_, stderr) => {
    const { evidence } = afterReading({ stdout: stdoutOfARun.join(''), stderr })
    expect(evidence.raised).toBe("ModuleNotFoundError: No module named 'decord'")
  })

  it('quotes a bare error', () => {
    const stderr = traceback('    assert FLASH_ATTN_2_AVAILABLE\nAssertionError')
    const { raised, errorLine } = afterReading({ stderr }).evidence
    expect(raised).toBe('AssertionError')
    expect(errorLine).toBe('assert FLASH_ATTN_2_AVAILABLE')
  })

  it('quotes the error of a rank rather than the complaint of torchrun', () => {
    const ofRank = (text: string) => text.replaceAll(/^/gm, '[rank7]: ')
    const stderr =
      ofRank(traceback(gpuOutOfMemory).trimEnd()) +
      `\n${traceback('torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ')}` +
      '============\ngenerate.py FAILED\n'
    const { raised, errorLine } = afterReading({ stderr }).evidence
    expect(raised).toBe(`[rank7]: ${gpuOutOfMemory}`)
    expect(errorLine).toBe(`[rank7]: ${gpuOutOfMemory}`)
  })

  it('keeps the line about memory whatever came before and after it', () => {
    const stderr =
      'RuntimeError: CUDA error: an illegal memory access was encountered\n' +
      `${traceback(gpuOutOfMemory)}${traceback('RuntimeError: CUDA error: unspecified')}`
    const { raised, errorLine } = afterReading({ stderr }).evidence
    expect(errorLine).toBe(gpuOutOfMemory)
    expect(raised).toBe('RuntimeError: CUDA error: unspecified')
  })

  it('quotes what argparse says', () => {
    const error =
      "generate.py: error: argument --size: invalid choice: '1280x704' (choose from '720*1280')"
    const stderr = `usage: generate.py [-h]\n                   [--size]\n${error}\nUserWarning: late\n`
    expect(afterReading({ stderr }).evidence.raised).toBe(error)
  })

  it('quotes nothing of a run that has said nothing about its end', () => {
    const stdout = stdoutOfARun.slice(0, 8).join('')
    const notices = [
      'UserWarning: leaked semaphores',
      '/opt/x.py:12: FutureWarning: `resume_download` is deprecated',
      '  warnings.warn(',
      'INFO:accelerate:using the CPU',
      '2025-12-27 09:15:13,421 - diffusers - WARNING - no accelerator',
      '2025-12-27 09:15:13.421 | INFO     | wan:main:3 - loaded',
      'WARNING: All log messages before absl::InitializeLog() is called are written to STDERR',
      'E0000 cuda_dnn.cc:8310] INFO: plugin registered',
      'W0000 00:00:1732 cuda_blas.cc:1418] Unable to register cuBLAS factory',
      '[W1128 10:12:13.1 ProcessGroupNCCL.cpp:3] Error in a destructor is ignored',
      'worker-1:12:34 [0] NCCL INFO cudaDriverVersion 12080',
      'NCCL version 2.21.5+cuda12.4',
      'Fetching 3 files: 67%',
      '  2%|▏         | 1/50 [00:22<18',
    ]
    for (const notice of ['', ...notices]) {
      const stderr = `${shards}${redraw(3)}\n${notice}\n`
      expect(afterReading({ stdout, stderr }).evidence).toEqual({ finished: false })
    }
    expect(afterReading({}).evidence).toEqual({ finished: false })
  })

  it('quotes the last line of stderr that is no notice, and else an error that was logged', () => {
    const stdout = info('Creating WanTI2V pipeline.')
    const logged = '[2025-12-27 09:15:13,421] ERROR: the audio is missing\n'
    const { evidence } = afterReading({ stdout: logged + stdout, stderr: `log in\n\n${shards}` })
    expect(evidence).toEqual({ finished: false, said: 'log in' })
    expect(afterReading({ stdout: logged + stdout, stderr: shards }).evidence).toEqual({
      finished: false,
      said: logged.trim(),
    })
  })

  it.each([
    ['Fatal Python error: Segmentation fault', 'Current thread 0x7f (most recent call first):'],
    ['  what():  CUDA error: unspecified launch failure', 'Aborted (core dumped)'],
    ['double free or corruption (!prev)', 'Aborted'],
    ['bash: line 1: 4711 Segmentation fault', '  File "x.py", line 3 in run'],
  ])('quotes how the runtime explains a crash: %j', (crash, after) => {
    const stderr = `starting\n${crash}\n${after}\n`
    expect(afterReading({ stderr }).evidence.crash).toBe(crash.trim())
  })

  it.each([
    ['a traceback', traceback('ImportError: no triton')],
    ['memory that ran out', `${gpuOutOfMemory}\n`],
    ['a crash of a helper', 'Segmentation fault (core dumped)\n'],
    ['some other line', 'Could not load xformers, going on without\n'],
  ])('forgets %s when the run has drawn on after it', (_, said) => {
    const drawnOn = firstDraw + redraw(1) + redraw(2) + redraw(3)
    expect(afterReading({ stderr: said + drawnOn }).evidence).toEqual({ finished: false })
    // A bar that is closed is drawn a last time.
    expect(afterReading({ stderr: redraw(1) + said + redraw(2) }).evidence).not.toEqual({
      finished: false,
    })
  })

  it('keeps the error of a rank while another rank draws on', () => {
    const stderr = `${traceback(gpuOutOfMemory).replaceAll(/^(?=.)/gm, '[rank1]: ')}`
    const { raised, errorLine } = afterReading({ stderr: stderr + redraw(1) + redraw(2) }).evidence
    expect(raised).toBe(`[rank1]: ${gpuOutOfMemory}`)
    expect(errorLine).toBe(`[rank1]: ${gpuOutOfMemory}`)
  })

  it('quotes no more than 500 characters', () => {
    const { evidence } = afterReading({ stderr: traceback(`ValueError: ${'x'.repeat(9000)}`) })
    expect(evidence.raised).toHaveLength(500)
  })
})

describe('the log of a generation', () => {
  it('has each line once, when it is complete', () => {
    const { reader, stdout } = aReader()
    expect(stdout('one\ntwo  \r\n\nthr')).toEqual(['one', 'two'])
    expect(stdout('ee')).toEqual([])
    expect(stdout('\n')).toEqual(['three'])
    expect(stdout('four')).toEqual([])
    expect(reader.end()).toEqual(['four'])
    expect(reader.end()).toEqual([])
  })

  it('has only the last state of a bar', () => {
    const { stderr } = aReader()
    expect(stderr(firstDraw + redraw(1) + redraw(2))).toEqual([])
    expect(stderr(lastDraws)).toEqual(['100%|██████████| 50/50 [18:26<00:00, 22.12s/it]'])
    expect(stderr(`${firstDraw}\rfetched 10%\rfetched 20%\r`)).toEqual([emptyBar])
    expect(stderr('done\n')).toEqual(['fetched 20%', 'done'])
  })

  it('parts a bar from what was written right after it', () => {
    const { stderr } = aReader()
    expect(stderr(`${redraw(1)}${redraw(2)}2 warnings${redraw(3)}\n`)).toEqual([
      bar(2),
      '2 warnings',
      bar(3),
    ])
  })

  it('has an unfinished bar at the end', () => {
    const { reader, stderr } = aReader()
    expect(stderr(redraw(1) + redraw(2))).toEqual([])
    expect(reader.end()).toEqual([bar(2)])
  })

  it('holds nothing that would act on a terminal', () => {
    const { stdout } = aReader()
    expect(
      stdout('\x1b[1;31mred\x1b[0m\x07 \x1b]0;title\x1b\\x\ty\x00\x7f\u009b2Jz\x1b(B\n'),
    ).toEqual(['red x yz'])
  })

  it('replaces bytes that are no UTF-8', () => {
    const { reader } = aReader()
    expect(reader.feed('stdout', Buffer.from([0x61, 0xff, 0x62, 0x0a]))).toEqual(['a\ufffdb'])
  })

  it('cuts a line that is too long, and goes on with the next', () => {
    const { reader, stdout } = aReader()
    const long = 'x'.repeat(maxLineBytes + 1)
    expect(stdout(`${long}\nnext\n`)).toEqual([long.slice(1), 'next'])
    stdout(long)
    stdout(long)
    expect(stdout('\nnext')).toEqual([long.slice(1)])
    expect(reader.end()).toEqual(['next'])
  })

  it('takes no more memory for 50 MB of output', () => {
    const { reader } = aReader()
    const chunk = Buffer.from((stdoutOfARun.join('') + redraw(3) + shards).repeat(500))
    reader.feed('stdout', chunk)
    reader.feed('stderr', chunk)
    const before = bytesHeld()
    for (let fed = 0; fed < 50e6; fed += 2 * chunk.length) {
      reader.feed('stdout', chunk)
      reader.feed('stderr', chunk)
    }
    expect(bytesHeld() - before).toBeLessThan(0.5e6)
  })

  it('takes no more memory for a line without an end', () => {
    const { reader } = aReader()
    const chunk = Buffer.alloc(maxLineBytes, '100%|')
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 3200; i++) {
      expect(reader.feed(i % 2 ? 'stdout' : 'stderr', chunk)).toHaveLength(0)
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * maxLineBytes)
    const ends = reader.end()
    expect(ends.map((line) => line.length)).toEqual([maxLineBytes, maxLineBytes])
  })
})

describe('reading in chunks', () => {
  const startedAt = Date.UTC(2025, 11, 27, 9, 15, 13)
  const texts: Record<OutputStream, string[]> = {
    stdout: [...stdoutOfARun, info('save_video failed, error: disk full'), bar(50), 'Finished.\n'],
    stderr: [firstDraw, lastDraws, shards, traceback(gpuOutOfMemory), traceback('AssertionError')],
  }
  const noise = fc.oneof(
    fc.constantFrom(
      '\r',
      '\n',
      '\r\n',
      '\x1b[31m',
      '\x1b[',
      '\x1b]0;',
      '\x07',
      '\t',
      '两只猫',
      '[rank3]: ',
    ),
    fc.string(),
    fc.nat(60).map(redraw),
  )
  const bytesOf = (stream: OutputStream) =>
    fc
      .array(
        fc.oneof(
          fc.oneof(fc.constantFrom(...texts[stream]), noise).map((text) => Buffer.from(text)),
          fc.uint8Array({ maxLength: 8 }),
        ),
        { maxLength: 30 },
      )
      .map((parts) => Buffer.concat(parts))
  /** In which order the streams are read, and how much at a time. */
  const reads = fc.array(
    fc.record({
      stream: fc.constantFrom('stdout' as const, 'stderr' as const),
      bytes: fc.oneof(fc.nat(4), fc.nat(200)),
    }),
    { maxLength: 200 },
  )

  it('gives the same reading, evidence and log however the bytes come', () => {
    fc.assert(
      fc.property(bytesOf('stdout'), bytesOf('stderr'), reads, (stdout, stderr, order) => {
        const whole = readAll({ stdout, stderr }, [])
        expect(readAll({ stdout, stderr }, order)).toEqual(whole)
      }),
      { numRuns: 500 },
    )
  })

  it('never goes back, and has its times in order between the start and what was read', () => {
    const stages = ['loading', 'encoding', 'denoising', 'decoding', 'saving']
    fc.assert(
      fc.property(bytesOf('stdout'), bytesOf('stderr'), reads, (stdout, stderr, order) => {
        let before = -1
        readAll({ stdout, stderr }, order, ({ reading }, readAt) => {
          if (!reading) return
          const { began = {}, steppedAt = startedAt, secondsPerStep = 1 } = reading
          const times = Object.values(began)
          expect(times).toEqual(times.toSorted((a, b) => a - b))
          expect(Math.min(steppedAt, ...times)).toBe(startedAt)
          expect(Math.max(steppedAt, ...times)).toBeLessThanOrEqual(readAt)
          expect(secondsPerStep).toBeGreaterThan(0)
          const now = stages.indexOf(reading.stage) + (reading.step ?? 0) / 100
          expect(now).toBeGreaterThanOrEqual(before)
          before = now
        })
      }),
      { numRuns: 500 },
    )
  })

  function readAll(
    output: Record<OutputStream, Buffer>,
    order: readonly { stream: OutputStream; bytes: number }[],
    onRead: (reader: OutputReader, readAt: number) => void = () => {},
  ) {
    const reader = createOutputReader({ totalSteps, startedAt })
    let readAt = startedAt
    const left = { ...output }
    const lines: Record<OutputStream, string[]> = { stdout: [], stderr: [] }
    const rest = (['stdout', 'stderr'] as const).map((stream) => ({ stream, bytes: Infinity }))
    for (const { stream, bytes } of [...order, ...rest]) {
      // Some are read together with what follows them.
      const isAll = bytes % 3 !== 0
      if (isAll) readAt += Math.min(bytes, 1000)
      const chunk = left[stream].subarray(0, bytes)
      lines[stream].push(...reader.feed(stream, chunk, isAll ? readAt : undefined))
      left[stream] = left[stream].subarray(bytes)
      onRead(reader, readAt)
    }
    const ends = reader.end()
    onRead(reader, readAt)
    return { lines, ends, position: positionOf(reader), evidence: reader.evidence }
  }
})
