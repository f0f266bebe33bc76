import { execFileSync, spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { root } from '../../src/config/root.ts'

const script = join(root, 'sim/generate.py')
// Asked once: where `python3` is a wrapper, each start would pay for it.
const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], {
  encoding: 'utf8',
}).trim()
const barState =
  /^ {0,2}\d+%\|.*\| (\d+)\/(\d+) \[[\d:]+<([\d:]+|\?), +(\d+\.\d\d|\?)(s\/it|it\/s)\]$/
const unpaddedCells = /\|([ ▏▎▍▌▋▊▉█]{10})\|/

const running = new Set<number>()
let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'sim-'))
})
afterAll(() => {
  for (const pid of running) process.kill(-pid, 'SIGKILL') // what a failed test has left hanging
  rmSync(dir, { recursive: true })
})

describe('the simulated command line', () => {
  it.each([
    ['a size with an x', ['--size=1280x704'], 2, "argument --size: invalid choice: '1280x704'"],
    ['an unknown task', ['--task=t3v'], 2, "argument --task: invalid choice: 't3v'"],
    ['steps that are no number', ['--sample_steps=abc'], 2, "invalid int value: 'abc'"],
    ['a bare flag for offloading', ['--offload_model=maybe'], 2, 'Boolean value expected'],
    ['a prompt that looks like an option', ['--prompt', '--x'], 2, 'expected one argument'],
    ['an option that it does not know', ['--fps=24'], 2, 'unrecognized arguments: --fps=24'],
    [
      'a size of another task',
      ['--size=1280*720'],
      1,
      'AssertionError: Unsupport size 1280*720 for task ti2v-5B, supported sizes are: 704*1280, 1280*704',
    ],
    ['FSDP on one GPU', ['--t5_fsdp'], 1, 't5_fsdp and dit_fsdp are not supported'],
    ['Ulysses on one GPU', ['--ulysses_size=2'], 1, 'sequence parallel are not supported'],
    ['a missing image', ['--image=/no/i.png'], 1, "No such file or directory: '/no/i.png'"],
    [
      'DashScope without a key',
      ['--use_prompt_extend', '--prompt_extend_method=dashscope'],
      1,
      'ValueError: DASH_API_KEY is not set',
    ],
  ])('rejects %s', async (_what, args, code, message) => {
    const run = await generate({ args })
    expect(run).toMatchObject({ code, stderr: expect.stringContaining(message) })
    expect(run.stderr.startsWith(code === 2 ? 'usage: generate.py' : 'Traceback')).toBe(true)
  })

  it('wants a checkpoint directory', async () => {
    const run = await start(['--task=ti2v-5B', '--size=1280*704']).ended
    expect(run.code).toBe(1)
    expect(run.stderr).toContain('AssertionError: Please specify the checkpoint directory.')
  })

  it('fills in what it is not told, and logs it', async () => {
    const { stdout, code } = await generate({ fault: 'no-file-silent' })
    expect(code).toBe(0)
    expect(stdout).toContain('offload_model is not specified, set to True.')
    expect(stdout).toMatch(/Namespace\(task='ti2v-5B', .*frame_num=121,.* base_seed=\d+,/)
    expect(stdout).toContain('sample_steps=50, sample_shift=5.0, sample_guide_scale=5.0')
    expect(stdout).toContain('Input prompt: Two anthropomorphic cats in comfy boxing gear')
    expect(stdout).not.toContain('sim_')
  })

  it('names the file after the job when it is not told where to save', async () => {
    const args = ['--task=ti2v-5B', '--size=1280*704', '--ckpt_dir=/ckpt', '--prompt=a b/c']
    const run = await start([...args, '--sim-fault=no-file-silent']).ended
    expect(run.stdout).toMatch(
      /Saving generated video to ti2v-5B_1280\*704_1_a_b_c_\d{8}_\d{6}\.mp4\n/,
    )
  })

  it('keeps its own options apart from the real ones', async () => {
    const help = await start(['--help']).ended
    expect(help.stdout).toContain('--sim-help')
    expect(help.stdout).not.toContain('--sim-speed')
    const abbreviated = await generate({ args: ['--si=1280x704'] })
    expect(abbreviated.stderr).toContain('argument --size: invalid choice')
  })
})

describe('the simulated output', () => {
  it('has the lines of the real one in their order, on stdout', async () => {
    const { stdout } = await generate({ prompt: 'a\nb', file: 'lines.mp4', frames: 5 })
    const lines = stdout.split('\n').map((line) => line.replace(/^\[[^\]]*\] INFO: /, ''))
    expect(lines).toEqual([
      'offload_model is not specified, set to True.',
      expect.stringMatching(/^Generation job args: Namespace\(.*prompt='a\\nb'/),
      expect.stringMatching(/^Generation model config: \{.*[一-鿿]/),
      'Input prompt: a',
      'b',
      'Creating WanTI2V pipeline.',
      'loading /ckpt/models_t5_umt5-xxl-enc-bf16.pth',
      'loading /ckpt/Wan2.2_VAE.pth',
      'Creating WanModel from /ckpt',
      'Generating video ...',
      `Saving generated video to ${join(dir, 'lines.mp4')}`,
      'Finished.',
      '',
    ])
  })

  it('stamps its lines with the local time of TZ', async () => {
    const stampIn = async (TZ: string) => {
      const { stdout } = await generate({ fault: 'exit-1', env: { TZ } })
      const stamp = /^\[(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d),\d{3}\] INFO: /.exec(stdout)
      return Date.parse(`${stamp?.[1]}T${stamp?.[2]}Z`)
    }
    const hours = ((await stampIn('Asia/Tokyo')) - (await stampIn('UTC'))) / 3_600_000
    expect(hours).toBeCloseTo(9, 1)
  })

  it('draws the bar of the shards, then that of the steps, and nothing else on stderr', async () => {
    const env = { SIM_STEP: '0.11' }
    const { stderr } = await generate({ fault: 'no-file-silent', args: ['--sample_steps=3'], env })
    const [shards, steps, rest] = stderr.split('\n')
    expect(rest).toBe('')
    expect(shards).toMatch(
      /^\rLoading checkpoint shards: {3}0%\| {10}\| 0\/3 \[00:00<\?, \?it\/s\]\r.*100%\|█{10}\| 3\/3 \[/,
    )

    const states = (steps ?? '').split('\r').slice(1)
    expect(states[0]).toBe('  0%|          | 0/3 [00:00<?, ?it/s]')
    expect(states.map((state) => barState.exec(state.trimEnd())?.[1])).toEqual([...'01233'])
    expect(states.map((state) => unpaddedCells.exec(state)?.[1])).toEqual([
      '          ',
      '███▎      ',
      '██████▋   ',
      '██████████',
      '██████████',
    ])
  })

  it('counts in seconds per step when a step takes longer than one', async () => {
    const env = { SIM_STEP: '1.05' }
    const { stderr } = await generate({ fault: 'no-file-silent', args: ['--sample_steps=1'], env })
    expect(stderr).toMatch(/1\/1 \[00:01<00:00, {2}1\.0\ds\/it\]\n$/)
  })

  it('skips states of the bar when the steps are fast', async () => {
    const { stderr } = await generate({ fault: 'no-file-silent' })
    expect(stderr).toMatch(/ 0\/50 [^\n]* 50\/50 \[00:00<00:00, \d+\.\d\dit\/s\]\n$/)
    expect(stderr).not.toContain(' 1/50 ')
  })

  it('takes longer for the steps of a longer clip', async () => {
    const stepsPerSecond = async (frames: number) => {
      const env = { SIM_SPEED: '4', SIM_LOAD: '0', SIM_ENCODE: '0', SIM_DECODE: '0' }
      const args = ['--sample_steps=8']
      const { stderr } = await generate({ fault: 'no-file-silent', args, frames, env })
      return Number(/(\d+\.\d\d)it\/s\]\n$/.exec(stderr)?.[1])
    }
    expect(await stepsPerSecond(41)).toBeGreaterThan(1.5 * (await stepsPerSecond(121)))
  })

  it('waits in each phase for the seconds it is given, whatever the speed', async () => {
    const env = { SIM_LOAD: '0.3', SIM_ENCODE: '0.2', SIM_STEP: '0.1', SIM_DECODE: '0.3' }
    const { stdout } = await generate({ fault: 'no-file-silent', args: ['--sample_steps=2'], env })
    const secondsAt = (line: string) => {
      const stamp = new RegExp(`(\\d\\d),(\\d{3})\\] INFO: ${line}`).exec(stdout)
      return Number(`${stamp?.[1]}.${stamp?.[2]}`)
    }
    const between = (from: string, to: string) => (secondsAt(to) - secondsAt(from) + 60) % 60
    expect(between('Creating WanTI2V', 'Generating')).toBeGreaterThan(0.26)
    expect(between('Generating', 'Saving')).toBeGreaterThan(0.69)
  })

  it('is sent into the wait for other ranks by the environment of torchrun', async () => {
    const env = { WORLD_SIZE: '2', RANK: '0' }
    const lost = await generate({ env })
    expect(lost).toMatchObject({ code: 1, stderr: expect.stringContaining('MASTER_ADDR expected') })

    const waiting = begin({ env: { ...env, MASTER_ADDR: 'localhost', MASTER_PORT: '1' } })
    await waiting.said('set to False.')
    waiting.child.kill()
    expect(await waiting.ended).toMatchObject({ signal: 'SIGTERM' })
  })

  it('dies of TQDM_ASCII=1 and draws nothing with TQDM_DISABLE=1, as tqdm does', async () => {
    const broken = await generate({ env: { TQDM_ASCII: '1' } })
    expect(broken).toMatchObject({ code: 1, stderr: expect.stringContaining('ZeroDivisionError') })
    const mute = await generate({ fault: 'no-file-silent', env: { TQDM_DISABLE: '1' } })
    expect(mute).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('the simulated video', () => {
  it.each([
    ['ti2v-5B', '1280*704', 12, { width: 1280, height: 704, frames: 9, fps: '24/1' }],
    ['ti2v-5B', '704*1280', 5, { width: 704, height: 1280, frames: 5, fps: '24/1' }],
    ['t2v-A14B', '480*832', 1, { width: 480, height: 832, frames: 1, fps: '16/1' }],
  ])(
    'of %s in %s has the size and the frames asked for, rounded down',
    async (task, size, frames, expected) => {
      const run = await generate({
        args: [`--task=${task}`, `--size=${size}`],
        frames,
        file: 's.mp4',
      })
      expect(run.code).toBe(0)
      expect(probe('s.mp4')).toEqual({ ...expected, codec: 'h264', pixels: 'yuv420p', streams: 1 })
    },
  )

  it('is 121 frames long by default, with its index at the end', async () => {
    await generate({ file: 'default.mp4' })
    expect(probe('default.mp4')).toMatchObject({ frames: 121 })
    const bytes = readFileSync(join(dir, 'default.mp4'))
    expect(bytes.indexOf('moov')).toBeGreaterThan(bytes.indexOf('mdat'))
  })

  it('moves, and is nowhere near black at its edges', async () => {
    await generate({ file: 'moves.mp4', frames: 5 })
    const [first, last] = [grayFrame('moves.mp4', 0), grayFrame('moves.mp4', 4)]
    expect(first.equals(last)).toBe(false)
    const edges = Buffer.concat([first.subarray(0, 1280), first.subarray(-1280)])
    expect(Math.min(...edges)).toBeGreaterThan(50)
  })

  it('is the same for the same prompt and seed, and differs in colour by seed', async () => {
    const bytesOf = async (seed: string) => {
      await generate({ args: [`--base_seed=${seed}`], prompt: 'a fox', file: 'x.mp4', frames: 1 })
      return readFileSync(join(dir, 'x.mp4'))
    }
    const first = await bytesOf('7')
    expect(first.equals(await bytesOf('7'))).toBe(true)
    expect(first.equals(await bytesOf('8'))).toBe(false)
  })

  it.runIf(canDrawText())('shows the prompt, whatever is in it', async () => {
    const pictureOf = async (prompt: string) => {
      await generate({ args: ['--base_seed=7'], prompt, file: 'text.mp4', frames: 1 })
      return grayFrame('text.mp4', 0)
    }
    const white = (picture: Buffer) => picture.filter((luma) => luma > 225).length
    const hostile = `-%{pts}: 'quotes', [in]; \\ and\n\ttext=x,movie=/etc/passwd ${'漢'.repeat(300)}`
    const [plain, empty, strange] = [
      await pictureOf('a red fox'),
      await pictureOf(''),
      await pictureOf(hostile),
    ]
    expect(white(plain)).toBeGreaterThan(white(empty))
    expect(white(strange)).toBeGreaterThan(white(plain))
  })

  it('has no text, and says nothing of it, where there is no font', async () => {
    const env = { FONTCONFIG_FILE: '/no/fonts.conf', FONTCONFIG_PATH: '/no', HOME: '/no' }
    const run = await generate({ file: 'mute.mp4', frames: 5, env: { ...env, TQDM_DISABLE: '1' } })
    expect(run).toMatchObject({ code: 0, stderr: '' })
    expect(probe('mute.mp4')).toMatchObject({ frames: 5 })
  })

  it.each([
    ['png', []],
    ['jpg', []],
    ['webp', []],
    ['lossless.webp', ['-lossless', '1']],
    ['transparent.webp', ['-pix_fmt', 'yuva420p', '-vf', 'colorkey=white']],
  ])('follows the aspect of a %s', async (extension, options) => {
    const image = join(dir, `image.${extension}`)
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=s=900x600', '-frames:v', '1', ...options, image)
    const run = await generate({ args: [`--image=${image}`], frames: 1, file: 'i2v.mp4' })
    expect(run.stdout).toContain(`Input image: ${image}\n`)
    expect(probe('i2v.mp4')).toMatchObject({ width: 1152, height: 768 })
  })

  it.each([
    ['a missing directory', 'no/x.mp4', '[Errno 2] The directory does not exist: '],
    ['an extension of no video', 'x.mp4.part', 'Could not find a backend to open'],
    ['no extension', 'x', 'None\n'],
  ])('is not saved under %s, and the script still succeeds', async (_what, file, reason) => {
    const { code, stdout } = await generate({ file, frames: 1 })
    expect(code).toBe(0)
    expect(stdout).toContain(`INFO: save_video failed, error: ${reason}`)
    expect(stdout).toMatch(/INFO: Finished\.\n$/)
  })
})

describe('the simulated process', () => {
  it('dies of SIGTERM at once, without a word', async () => {
    const run = begin({ fault: 'hang-step' })
    await run.said('Generating video')
    run.child.kill('SIGTERM')
    const { signal, stderr } = await run.ended
    expect(signal).toBe('SIGTERM')
    expect(stderr).not.toContain('Traceback')
  })

  it('dies of SIGINT with a traceback', async () => {
    const run = begin({ fault: 'hang-step' })
    await run.said('Generating video')
    run.child.kill('SIGINT')
    expect(await run.ended).toMatchObject({
      signal: 'SIGINT',
      stderr: expect.stringContaining('KeyboardInterrupt'),
    })
  })

  it('keeps its encoder in a process group of its own, and a kill leaves a shorter video', async () => {
    const run = begin({ fault: 'hang-save', args: ['--base_seed=42'], file: 'killed.mp4' })
    const encoder = await run.encoder()
    expect(encoder.group).toBe(encoder.pid)

    const headerLength = 48 // more is written once the encoder's buffer of 256 KiB is full
    const written = () => statSync(join(dir, 'killed.mp4'), { throwIfNoEntry: false })?.size
    await expect.poll(written, patience).toBeGreaterThan(headerLength)
    run.child.kill('SIGKILL')
    expect(await run.ended).toMatchObject({ signal: 'SIGKILL' })
    const { width, frames } = probe('killed.mp4')
    expect(width).toBe(1280)
    expect(frames).toBeGreaterThan(0)
    expect(frames).toBeLessThan(121)
  })

  it('shares its process group with the encoder when the environment says so', async () => {
    const env = { IMAGEIO_FFMPEG_NO_PREVENT_SIGINT: '1' }
    const run = begin({ fault: 'hang-save', frames: 9, file: 'group.mp4', env })
    const encoder = await run.encoder()
    expect(encoder.group).toBe(run.pid)
    process.kill(-run.pid, 'SIGKILL')
    await run.ended
    await expect.poll(() => processes().some(({ pid }) => pid === encoder.pid)).toBe(false)
  })

  it('fails where a checkpoint file is missing, if it is to look', async () => {
    const ckpt = join(dir, 'ckpt')
    mkdirSync(ckpt)
    const attempt = () =>
      generate({ args: [`--ckpt_dir=${ckpt}`, '--sim-check-ckpt'], fault: 'no-file-silent' })
    const touch = (name: string) => writeFileSync(join(ckpt, name), '')

    expect((await attempt()).stderr).toContain(`No such file or directory: '${ckpt}/models_t5_`)
    touch('models_t5_umt5-xxl-enc-bf16.pth')
    expect((await attempt()).stderr).toContain(
      `No such file or directory: '${ckpt}/Wan2.2_VAE.pth'`,
    )
    touch('Wan2.2_VAE.pth')
    expect((await attempt()).stderr).toContain(
      'OSError: Error no file named diffusion_pytorch_model',
    )
    touch('diffusion_pytorch_model.safetensors.index.json')
    expect((await attempt()).code).toBe(0)
  })

  it('writes its start and its end into the journal, but no end when it is killed', async () => {
    const journal = join(dir, 'journal')
    const env = { SIM_JOURNAL: journal, CUDA_VISIBLE_DEVICES: '3' }
    const job = { prompt: 'a\nfox', file: 'j.mp4', env }
    const { pid } = await generate({ ...job, fault: 'no-file-silent' })
    await generate({ ...job, fault: 'exit-1' })
    await generate({ ...job, fault: 'kill-self' })

    const lines = readFileSync(journal, 'utf8').trim().split('\n')
    const events = lines.map((line) => JSON.parse(line) as { event: string })
    const asked = { prompt: 'a\nfox', negative_prompt: null }
    const described = { pid, gpu: '3', save_file: join(dir, 'j.mp4'), ...asked }
    expect(events[0]).toEqual({ event: 'start', ...described, at: expect.any(Number) })
    expect(events.map(({ event }) => event)).toEqual(['start', 'end', 'start', 'end', 'start'])
  })
})

describe('a simulated fault', () => {
  it.each([
    ['no-cuda', 'RuntimeError: Found no NVIDIA driver on your system.'],
    ['module-missing', "ModuleNotFoundError: No module named 'decord'"],
    ['checkpoint-missing', "directory: '/ckpt/models_t5_umt5-xxl-enc-bf16.pth'"],
    ['oom-load', 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate'],
    ['flash-attn-missing', '    assert FLASH_ATTN_2_AVAILABLE\n'],
    ['exit-1', 'RuntimeError: The size of tensor a'],
    ['cuda-error', 'RuntimeError: CUDA error: an illegal memory access was encountered'],
    ['oom', 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate'],
  ])('%s ends in a traceback and exit 1', async (fault, text) => {
    const { code, stderr } = await generate({ fault })
    expect(code).toBe(1)
    expect(stderr).toContain('Traceback (most recent call last):\n')
    expect(stderr).toContain(text)
  })

  it('oom comes only after the bar is full', async () => {
    const { stderr } = await generate({ fault: 'oom' })
    expect(stderr).toMatch(/ 50\/50 [^\n]*\nTraceback/)
  })

  it.each([
    ['kill-self', { code: null, signal: 'SIGKILL' }],
    ['segfault', { code: null, signal: 'SIGSEGV' }],
    ['exit-137', { code: 137, signal: null }],
  ])('%s ends halfway, without a traceback', async (fault, exit) => {
    const run = await generate({ fault })
    expect(run).toMatchObject(exit)
    expect(run.stderr).not.toContain('Traceback')
    expect(run.stdout).not.toContain('Saving')
  })

  it.each([
    ['oom-save', 'save_video failed, error: CUDA out of memory.'],
    ['no-file', 'save_video failed, error: '],
    ['no-file-silent', ''],
  ])('%s succeeds without a file', async (fault, text) => {
    const { code, stdout } = await generate({ fault, file: `${fault}.mp4` })
    expect(code).toBe(0)
    expect(stdout).toContain(text)
    expect(stdout.includes('save_video failed')).toBe(text !== '')
    expect(stdout).toMatch(/INFO: Finished\.\n$/)
    expect(readdirSync(dir)).not.toContain(`${fault}.mp4`)
  })

  it('garbage-file succeeds with a file that is not a video', async () => {
    expect(await generate({ fault: 'garbage-file', file: 'bad.mp4' })).toMatchObject({ code: 0 })
    expect(readFileSync(join(dir, 'bad.mp4'), 'utf8')).toMatch(/^This is not a video\./)
  })

  it.each([
    ['truncated', { width: 1280, height: 704, frames: 4 }],
    ['wrong-size', { width: 640, height: 352, frames: 9 }],
    ['traceback-but-ok', { frames: 9 }],
    ['close-stdout', { frames: 9 }],
    ['no-bar', { frames: 9 }],
  ])('%s succeeds with a playable video', async (fault, expected) => {
    const run = await generate({ fault, frames: 9, file: `${fault}.mp4` })
    expect(run).toMatchObject({ code: 0, signal: null })
    expect(run.stderr).not.toContain('Traceback')
    expect(probe(`${fault}.mp4`)).toMatchObject(expected)
  })

  it('traceback-but-ok logs a traceback on stdout', async () => {
    const { stdout } = await generate({ fault: 'traceback-but-ok,no-file-silent' })
    expect(stdout).toMatch(/INFO: [^\n]*\nTraceback \(most recent call last\):\n {2}File/)
  })

  it('close-stdout, no-bar, invalid-utf8 and huge-bar spoil the output, and the run goes on', async () => {
    const closed = await generate({ fault: 'close-stdout,no-file-silent' })
    expect(closed.stdout).toMatch(/Generating video \.\.\.\n$/)
    expect(closed.code).toBe(0)

    const mute = await generate({ fault: 'no-bar,no-file-silent' })
    expect(mute).toMatchObject({ code: 0, stderr: '' })

    const invalid = await generate({ fault: 'invalid-utf8,no-file-silent' })
    expect(invalid.stdout).toContain('caf\ufffd')
    expect(invalid.stderr).toContain('caf\ufffd')
    expect(invalid.stdout).toMatch(/Finished\.\n$/)

    const huge = await generate({ fault: 'huge-bar=5000,no-file-silent' })
    expect(huge.stderr).toContain(`100%|${'█'.repeat(5000)}| 50/50`)
  })

  it('chatty and endless-line flood both streams, and the run goes on', async () => {
    const chatty = await generate({ fault: 'chatty=3,no-file-silent' })
    expect(chatty.stdout.length + chatty.stderr.length).toBeGreaterThan(2_900_000)
    expect(chatty.stdout).toMatch(/Finished\.\n$/)

    const endless = await generate({ fault: 'endless-line=2,no-file-silent' })
    expect(endless.stdout).toMatch(/\nx{2000000}\[[^\n]*Saving/)
    expect(endless.stderr).toMatch(/\nx{2000000}\r {2}0%/)
  })

  it('hang-load hangs before anything is loaded', async () => {
    const run = begin({ fault: 'hang-load' })
    await run.said('Creating WanTI2V pipeline.')
    run.child.kill()
    const { signal, stdout } = await run.ended
    expect(signal).toBe('SIGTERM')
    expect(stdout).not.toContain('loading')
  })

  it('ignore-term goes on when it is told to end', async () => {
    const env = { SIM_ENCODE: '0.3' }
    const run = begin({ fault: 'ignore-term,no-file-silent', env })
    await run.said('Generating video')
    run.child.kill('SIGTERM')
    expect(await run.ended).toMatchObject({ code: 0, signal: null })
  })

  it('strays leaves five processes behind, some out of reach of a group or an environment', async () => {
    const seconds = `${100_000 + process.pid}`
    const run = begin({ fault: `strays=${seconds},no-file-silent` })
    expect(await run.exited).toBe(0)

    const strays = processes().filter(({ command }) => command.join(' ') === `sleep ${seconds}`)
    try {
      expect(strays).toHaveLength(5)
      expect(strays.filter(({ group }) => group === run.pid)).toHaveLength(2)
      expect(strays.filter(({ pid, group }) => pid === group)).toHaveLength(3)
      expect(strays.filter(({ pid }) => !environment(pid).includes('SIM_SPEED'))).toHaveLength(1)
    } finally {
      for (const { pid } of strays) process.kill(pid, 'SIGKILL')
    }
    await run.ended
  })

  it('fork-a-lot leaves as many children as it is told to', async () => {
    const run = begin({ fault: 'fork-a-lot=12,no-file-silent' })
    expect(await run.exited).toBe(0)
    expect(processes().filter(({ group }) => group === run.pid)).toHaveLength(12)
    process.kill(-run.pid, 'SIGKILL')
    await run.ended
  })

  it('in a prompt is obeyed only when directives are on', async () => {
    const prompt = 'a fox [sim:exit-1] [sim:load=0.01]'
    const ignored = await generate({ prompt, fault: 'no-file-silent' })
    expect(ignored.code).toBe(0)
    const obeyed = await generate({ prompt, env: { SIM_DIRECTIVES: '1' } })
    expect(obeyed.code).toBe(1)
    expect(obeyed.stdout).toContain(`Input prompt: ${prompt}\n`)
  })

  it('once strikes a prompt the first time only', async () => {
    const env = { SIM_DIRECTIVES: '1', SIM_STATE_DIR: dir }
    const job = { prompt: 'a fox [sim:once=exit-137]', fault: 'no-file-silent', env }
    const codes = [await generate(job), await generate(job)].map(({ code }) => code)
    expect(codes).toEqual([137, 0])
    expect((await generate({ ...job, prompt: `another ${job.prompt}` })).code).toBe(137)
  })

  it('that does not exist is refused', async () => {
    const run = await generate({ fault: 'oomph' })
    expect(run).toMatchObject({ code: 2, stderr: expect.stringContaining("directive 'oomph'") })
  })

  it('has its line in the README', async () => {
    const { stdout } = await start(['--sim-help']).ended
    const [, list = ''] = stdout.split('faults:\n')
    const names = list
      .split('\n\n')[0]
      ?.split('\n')
      .map((line) => line.trim().split(' ')[0])
    expect(names).toContain('oom')
    const readme = readFileSync(join(root, 'sim/README.md'), 'utf8')
    expect(names?.filter((name) => !readme.includes(`| \`${name}`))).toEqual([])
  })
})

type Job = Readonly<{
  args?: readonly string[]
  prompt?: string
  fault?: string
  frames?: number
  file?: string
  env?: Readonly<Record<string, string>>
}>

const generate = (job: Job) => begin(job).ended

/** Starts the job on a 5B in landscape, with practically no waiting. */
function begin({ args = [], prompt, fault, frames, file = 'out.mp4', env }: Job) {
  const base = ['--task=ti2v-5B', '--size=1280*704', '--ckpt_dir=/ckpt']
  const optional = [
    prompt !== undefined && `--prompt=${prompt}`,
    fault !== undefined && `--sim-fault=${fault}`,
    frames !== undefined && `--frame_num=${frames}`,
  ].filter((arg) => arg !== false)
  return start([...base, `--save_file=${join(dir, file)}`, ...optional, ...args], env)
}

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn(python, [script, ...args], {
    cwd: dir,
    detached: true,
    env: { PATH: process.env.PATH, LANG: 'C.UTF-8', SIM_SPEED: '1000', ...env },
  })
  const pid = child.pid as number
  running.add(pid)
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  child.stdout.on('data', (chunk: Buffer) => output.stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => output.stderr.push(chunk))
  const text = (stream: 'stdout' | 'stderr') => Buffer.concat(output[stream]).toString()

  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const ended = new Promise<{
    pid: number
    code: number | null
    signal: string | null
    stdout: string
    stderr: string
  }>((resolve) =>
    child.once('close', (code, signal) => {
      running.delete(pid)
      resolve({ pid, code, signal, stdout: text('stdout'), stderr: text('stderr') })
    }),
  )
  return {
    child,
    pid,
    /** The process itself has gone; what it left may still hold its streams. */
    exited,
    /** The process has gone and its streams are closed. */
    ended,
    said: (phrase: string) => expect.poll(() => text('stdout'), patience).toContain(phrase),
    /** The process that encodes the video, once it is under way. */
    async encoder() {
      const find = () =>
        processes().find((each) => each.parent === pid && each.command.includes('libx264'))
      await expect.poll(find, patience).toBeDefined()
      return find() as NonNullable<ReturnType<typeof find>>
    },
  }
}

const patience = { timeout: 20_000, interval: 20 }

/** What runs on this machine, as far as /proc tells. */
function processes() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.flatMap((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const [state, parent, group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
      if (state === 'Z') return []
      return [{ pid: Number(pid), state, parent: Number(parent), group: Number(group), command }]
    } catch {
      return [] // gone in the meantime
    }
  })
}

const environment = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'utf8')

function ffmpeg(...args: string[]): Buffer {
  return execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args])
}

/** One frame as it is, a byte of brightness per pixel. */
const grayFrame = (file: string, number: number): Buffer =>
  ffmpeg(
    ...['-i', join(dir, file), '-vf', `select=eq(n\\,${number})`, '-frames:v', '1'],
    ...['-f', 'rawvideo', '-pix_fmt', 'gray', '-'],
  )

function canDrawText(): boolean {
  try {
    const source = 'color=s=64x64,drawtext=text=x:font=monospace'
    ffmpeg('-f', 'lavfi', '-i', source, '-frames:v', '1', '-f', 'null', '-')
    return true
  } catch {
    return false
  }
}

function probe(file: string) {
  const fields = 'codec_name,pix_fmt,width,height,r_frame_rate,nb_read_frames'
  const json = execFileSync(
    'ffprobe',
    [
      ...['-v', 'error', '-count_frames', '-of', 'json'],
      ...['-show_entries', `stream=${fields}`, join(dir, file)],
    ],
    { encoding: 'utf8', stdio: 'pipe' },
  )
  const { streams } = JSON.parse(json) as { streams: Record<string, string | number>[] }
  const [video] = streams
  return {
    width: video?.width,
    height: video?.height,
    frames: Number(video?.nb_read_frames),
    fps: video?.r_frame_rate,
    codec: video?.codec_name,
    pixels: video?.pix_fmt,
    streams: streams.length,
  }
}
