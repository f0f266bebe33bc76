import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createOutputReader,
  longestLineBytes,
  type OutputReader,
  type OutputStream,
} from '../src/infra/generation/output-reader.ts'

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
  const reader = createOutputReader({ totalSteps })
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
      return reader.reading
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
    expect(reader.reading).toEqual({ stage: 'loading' })
  })

  it.each(['Generating video ...', 'Generating video...'])('knows `%s`', (message) => {
    expect(afterReading({ stdout: info(message) }).reading).toEqual({ stage: 'encoding' })
  })

  it.each([
    'Generating video ...\n',
    ' [2025-12-27 09:15:13,421] INFO: Generating video ...\n',
    '[2025-12-27 09:15:13] INFO: Generating video ...\n',
    '[2025-12-27 09:15:13,421] ERROR: Generating video ...\n',
    info('Generating video ... of two cats'),
    info('Input prompt: Generating video ...'),
  ])('takes no notice of %j', (line) => {
    expect(afterReading({ stdout: line }).reading).toEqual({ stage: 'loading' })
  })

  it('takes no notice of INFO lines on stderr', () => {
    expect(afterReading({ stderr: stdoutOfARun.join('') }).reading).toEqual({ stage: 'loading' })
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
    expect(afterReading({ stderr: text }).reading).toEqual({ stage: 'loading' })
  })

  it('takes no notice of a perfect bar on stdout', () => {
    const stdout = info('Generating video ...') + redraw(20) + lastDraws
    expect(afterReading({ stdout }).reading).toEqual({ stage: 'encoding' })
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
    expect(reader.reading).toEqual({ stage: 'decoding' })
  })

  it('is the same whichever stream is heard first', () => {
    const { reader, stdout, stderr } = aReader()
    stdout(stdoutOfARun.join(''))
    expect(reader.reading).toEqual({ stage: 'encoding' })
    stderr(firstDraw + redraw(49))
    expect(reader.reading).toMatchObject({ stage: 'denoising', step: 49 })
    stderr(lastDraws)
    expect(reader.reading).toEqual({ stage: 'saving' })
  })

  it('believes a run without a bar that it saved only at its end', () => {
    const { reader, stdout } = aReader()
    stdout(stdoutOfARun.join(''))
    expect(reader.reading).toEqual({ stage: 'encoding' })
    reader.end()
    expect(reader.reading).toEqual({ stage: 'saving' })
  })

  it('is not led past encoding by a prompt with line breaks', () => {
    const { reader, stdout, stderr } = aReader()
    stdout(info(`Input prompt: cats\n${stdoutOfARun.join('')}${bar(50)}`))
    expect(reader.reading).toEqual({ stage: 'encoding' })
    stderr(firstDraw)
    expect(reader.reading).toEqual({ stage: 'denoising', step: 0, totalSteps })
  })
})

describe('the evidence of a generation', () => {
  it('tells that it finished', () => {
    expect(afterReading({ stdout: stdoutOfARun.join('') }).evidence).toEqual({
      finished: true,
      lastLine: '[2025-12-27 09:15:13,421] INFO: Finished.',
    })
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
    expect(evidence.lastLine).toBe("ModuleNotFoundError: No module named 'decord'")
  })

  it('quotes a bare error', () => {
    const stderr = traceback('    assert FLASH_ATTN_2_AVAILABLE\nAssertionError')
    const { lastLine, errorLine } = afterReading({ stderr }).evidence
    expect(lastLine).toBe('AssertionError')
    expect(errorLine).toBe('assert FLASH_ATTN_2_AVAILABLE')
  })

  it('quotes the error of a rank rather than the complaint of torchrun', () => {
    const ofRank = (text: string) => text.replaceAll(/^/gm, '[rank7]: ')
    const stderr =
      ofRank(traceback(gpuOutOfMemory).trimEnd()) +
      `\n${traceback('torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ')}` +
      '============\ngenerate.py FAILED\n'
    const { lastLine, errorLine } = afterReading({ stderr }).evidence
    expect(lastLine).toBe(`[rank7]: ${gpuOutOfMemory}`)
    expect(errorLine).toBe(`[rank7]: ${gpuOutOfMemory}`)
  })

  it('keeps the line about memory whatever came before and after it', () => {
    const stderr =
      'RuntimeError: CUDA error: an illegal memory access was encountered\n' +
      `${traceback(gpuOutOfMemory)}${traceback('RuntimeError: CUDA error: unspecified')}`
    const { lastLine, errorLine } = afterReading({ stderr }).evidence
    expect(errorLine).toBe(gpuOutOfMemory)
    expect(lastLine).toBe('RuntimeError: CUDA error: unspecified')
  })

  it('quotes what argparse says', () => {
    const error =
      "generate.py: error: argument --size: invalid choice: '1280x704' (choose from '720*1280')"
    const stderr = `usage: generate.py [-h]\n                   [--size]\n${error}\nUserWarning: late\n`
    expect(afterReading({ stderr }).evidence.lastLine).toBe(error)
  })

  it('quotes the last line of stderr that is no bar, or else that of stdout', () => {
    const stdout = info('Creating WanTI2V pipeline.')
    expect(
      afterReading({ stdout, stderr: `terminated\n\n${shards}${redraw(3)}` }).evidence.lastLine,
    ).toBe('terminated')
    expect(afterReading({ stdout, stderr: shards }).evidence.lastLine).toBe(stdout.trim())
    expect(afterReading({}).evidence).toEqual({ finished: false })
  })

  it('quotes no more than 500 characters', () => {
    const { evidence } = afterReading({ stderr: traceback(`ValueError: ${'x'.repeat(9000)}`) })
    expect(evidence.lastLine).toHaveLength(500)
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
    const long = 'x'.repeat(longestLineBytes + 1)
    expect(stdout(`${long}\nnext\n`)).toEqual([long.slice(1), 'next'])
    stdout(long)
    stdout(long)
    expect(stdout('\nnext')).toEqual([long.slice(1)])
    expect(reader.end()).toEqual(['next'])
  })

  it('takes no more memory for a line without an end', () => {
    const { reader } = aReader()
    const chunk = Buffer.alloc(longestLineBytes, '100%|')
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 3200; i++) {
      expect(reader.feed(i % 2 ? 'stdout' : 'stderr', chunk)).toHaveLength(0)
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * longestLineBytes)
    const ends = reader.end()
    expect(ends.map((line) => line.length)).toEqual([longestLineBytes, longestLineBytes])
  })
})

describe('reading in chunks', () => {
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

  it('never goes back', () => {
    const stages = ['loading', 'encoding', 'denoising', 'decoding', 'saving']
    fc.assert(
      fc.property(bytesOf('stdout'), bytesOf('stderr'), reads, (stdout, stderr, order) => {
        let before = -1
        readAll({ stdout, stderr }, order, ({ reading }) => {
          if (!reading) return
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
    onRead: (reader: OutputReader) => void = () => {},
  ) {
    const reader = createOutputReader({ totalSteps })
    const left = { ...output }
    const lines: Record<OutputStream, string[]> = { stdout: [], stderr: [] }
    const rest = (['stdout', 'stderr'] as const).map((stream) => ({ stream, bytes: Infinity }))
    for (const { stream, bytes } of [...order, ...rest]) {
      lines[stream].push(...reader.feed(stream, left[stream].subarray(0, bytes)))
      left[stream] = left[stream].subarray(bytes)
      onRead(reader)
    }
    const ends = reader.end()
    onRead(reader)
    return { lines, ends, reading: reader.reading, evidence: reader.evidence }
  }
})
