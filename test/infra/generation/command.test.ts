import { basename } from 'node:path'
import { describe, expect, it } from 'vitest'
import { commandFor, environmentFor } from '../../../src/infra/generation/command.ts'

const wan = {
  python: '/opt/venv/bin/python',
  wanDir: '/opt/Wan2.2',
  ckptDir: '/models/5b',
  task: 'ti2v-5B',
  extraArgs: ['--t5_cpu'],
  launcher: true,
  sdpa: false,
  fastLoad: false,
} as const
const request = { prompt: '-h', size: '1280x720', frames: 121, steps: 50, seed: 7 } as const
const script = [
  ...['generate.py', '--t5_cpu', '--task', 'ti2v-5B', '--size', '1280*704'],
  ...['--ckpt_dir', '/models/5b', '--frame_num', '121', '--sample_steps', '50'],
  ...['--base_seed', '7', '--save_file', '/work/job/1/video.mp4', '--prompt=-h'],
]
const commandOf = (changes: Partial<Parameters<typeof commandFor>[0]>) =>
  commandFor({ ...wan, ...changes }, request, { attemptDir: '/work/job/1' }).map((argument) =>
    argument.endsWith('launcher.py') ? basename(argument) : argument,
  )

describe('the command of a generation', () => {
  it('is the script, run by our launcher', () => {
    const launched = [wan.python, 'launcher.py', '/work/job/1/events.jsonl', ...script]
    expect(commandOf({})).toEqual(launched)
    expect(commandOf({ sdpa: true })).toEqual([
      ...launched.slice(0, 2),
      '--sdpa',
      ...launched.slice(2),
    ])
    expect(commandOf({ fastLoad: true })).toEqual([
      ...launched.slice(0, 2),
      '--fast-load',
      ...launched.slice(2),
    ])
    expect(commandOf({ embeddings: { directory: '/data/a:b', maxBytes: 100 } })).toEqual([
      ...launched.slice(0, 2),
      '--embeddings=100:/data/a:b',
      ...launched.slice(2),
    ])
  })

  it('has the negative prompt in one argument, for the launcher or for a script that may know it', () => {
    const asked = { ...request, negativePrompt: '--owls at night' }
    const files = { attemptDir: '/work/job/1' }
    const launched = commandFor({ ...wan, sdpa: true }, asked, files)
    expect(launched.slice(2, 5)).toEqual([
      ...['--sdpa', '--negative-prompt=--owls at night', '/work/job/1/events.jsonl'],
    ])
    expect(launched.join(' ')).not.toContain('--negative_prompt')
    const alone = commandFor({ ...wan, launcher: false }, asked, files)
    expect(alone).toEqual([wan.python, ...script, '--negative_prompt=--owls at night'])
  })

  it('is the script alone where the launcher is not wanted', () => {
    expect(commandOf({ launcher: false })).toEqual([wan.python, ...script])
  })

  it('has the guidance and the shift that were asked for', () => {
    const asked = { ...request, guidance: 4.5, shift: 3 }
    expect(commandFor(wan, asked, { attemptDir: '/w' }).join(' ')).toContain(
      '--sample_guide_scale 4.5 --sample_shift 3 ',
    )
  })

  it('has the image that the video begins with', () => {
    const files = { attemptDir: '/work/job/1', image: '/work/job/image' }
    expect(commandFor(wan, request, files).join(' ')).toContain(' --image /work/job/image ')
  })

  it('makes a size that the model makes itself as it is', () => {
    const command = commandFor(wan, { ...request, size: '704x1280' }, { attemptDir: '/w' })
    expect(command).toContain('704*1280')
  })
})

describe('the environment of a generation', () => {
  it('is that of the service, without what is for others', () => {
    const inherited = {
      HOME: '/home/wan',
      WORLD_SIZE: '8',
      TQDM_DISABLE: '1',
      MALLOC_ARENA_MAX: '2',
      NODE_COMPILE_CACHE: '/var/cache/wan-supervisor',
    }
    const environment = environmentFor(inherited, '3')
    expect(environment).toMatchObject({ HOME: '/home/wan', CUDA_VISIBLE_DEVICES: '3' })
    expect(Object.keys(environment).filter((name) => /WORLD|TQDM|MALLOC|NODE/.test(name))).toEqual(
      [],
    )
  })
})
