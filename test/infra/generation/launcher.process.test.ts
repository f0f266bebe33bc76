import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { root } from '../../../src/config/root.ts'

const launcher = join(root, 'src/infra/generation/launcher.py')
const checkout = join(root, 'test/support/checkout')
// Asked once: where `python3` is a wrapper, each start would pay for it.
const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], {
  encoding: 'utf8',
}).trim()

const directories: string[] = []
afterEach(() => {
  for (const directory of directories.splice(0)) {
    rmSync(directory, { recursive: true, force: true })
  }
})

type Event = Readonly<{ event: string; at: number; [detail: string]: unknown }>
type Spoil = (edit: (file: string, change: (text: string) => string) => void, dir: string) => void

const args = (task = 'ti2v-5B') => [
  ...['--task', task, '--sample_steps', '4', '--save_file', 'video.mp4'],
  '--prompt=a fox',
]

const isNoBytecode = (path: string) => !path.includes('__pycache__')

/** A copy of the checkout, spoilt as a test wants it. */
function aCheckout(spoil: Spoil = () => {}) {
  const root = mkdtempSync(join(tmpdir(), 'launcher-'))
  directories.push(root)
  const dir = join(root, 'checkout')
  cpSync(checkout, dir, { recursive: true, filter: isNoBytecode })
  spoil((file, change) => {
    const path = join(dir, file)
    writeFileSync(path, change(existsSync(path) ? readFileSync(path, 'utf8') : ''))
  }, dir)
  const events = join(root, 'events.jsonl')

  const run = async (argv: readonly string[], env: NodeJS.ProcessEnv = {}) => {
    const child = spawn(python, argv, {
      ...{ cwd: dir, env: { ...process.env, ...env } },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    const [code, killedBy] = (await once(child, 'close')) as [number | null, string | null]
    return { code, signal: killedBy, stdout, stderr }
  }

  return {
    dir,
    root,
    events,
    direct: (argv = args(), { env = {} } = {}) => run(['generate.py', ...argv], env),
    launched: (
      argv = args(),
      { options = [] as string[], eventsFile = events, by = launcher, env = {} } = {},
    ) => run([by, ...options, eventsFile, 'generate.py', ...argv], env),
    told: (): Event[] =>
      existsSync(events)
        ? readFileSync(events, 'utf8')
            .split('\n')
            .filter(Boolean)
            .map((line) => JSON.parse(line) as Event)
        : [],
  }
}

const names = (events: readonly Event[]) => events.map(({ event }) => event)

const loading = (dits: number) => [
  ...['started', 'imported'],
  ...['text_encoder_begun', 'text_encoder_built', 'text_encoder_loaded'],
  ...['vae_begun', 'vae_loaded'],
  ...Array.from({ length: dits }, () => ['dit_begun', 'dit_loaded']).flat(),
  'pipeline_ready',
]
const generating = [
  ...['prompt_encoded', 'prompt_encoded', 'sampling', 'step', 'step', 'step', 'step'],
  ...['decoding', 'decoded', 'memory', 'saving', 'saved', 'memory'],
]

describe('a launched generation', () => {
  it.each([
    ['ti2v-5B', 1],
    ['t2v-A14B', 2],
    ['i2v-A14B', 2],
  ])('tells how far it has come: %s', async (task, dits) => {
    const { launched, told } = aCheckout()
    const before = Date.now() / 1000
    expect(await launched(args(task))).toMatchObject({ code: 0, signal: null })

    expect(names(told())).toEqual([...loading(dits), ...generating])
    const steps = told().filter(({ event }) => event === 'step')
    expect(steps.map(({ step, total }) => [step, total])).toEqual([1, 2, 3, 4].map((n) => [n, 4]))
    expect(told().at(-1)).toMatchObject({ allocated: 20e9, reserved: 22.9e9 })
    const times = told().map(({ at }) => at)
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(times[0]).toBeGreaterThanOrEqual(before)
    expect(times.at(-1)).toBeLessThanOrEqual(Date.now() / 1000)
  })

  it('never asks about the memory of a GPU that is not in use', async () => {
    const { launched, told } = aCheckout((edit) =>
      edit('wan/textimage2video.py', (text) => text.replace('torch.cuda.is_used = True', 'pass')),
    )
    expect(await launched()).toMatchObject({ code: 0 })
    expect(names(told())).not.toContain('memory')
  })

  it('tells the most memory that was in use also when it fails', async () => {
    const { launched, told } = aCheckout((edit) =>
      edit('wan/modules/vae2_2.py', (text) => text.replace('for z in zs', 'for z in 1 / 0')),
    )
    expect(await launched()).toMatchObject({ code: 1 })
    expect(names(told()).slice(-2)).toEqual(['decoding', 'memory'])
  })
})

const failing = (statement: string): Spoil => {
  return (edit) =>
    edit('wan/modules/model.py', (text) =>
      text.replace('return flash_attention', `${statement}\n        return flash_attention`),
    )
}
const script = (text: string): Spoil => {
  return (edit) => edit('generate.py', () => text)
}

describe('the modules of the launcher', () => {
  it('are found, and hidden from the script, where Python does not search beside a script', async () => {
    const { direct, launched, told } = aCheckout(script('import sys, wan\nprint(sys.path)\n'))
    const env = { PYTHONSAFEPATH: '1', PYTHONPATH: '.' }
    expect(await launched([], { env })).toEqual(await direct([], { env }))
    expect(names(told())).toContain('imported')
  })

  it('are not needed for the script to run', async () => {
    const { direct, launched, root, told } = aCheckout()
    const alone = join(root, 'launcher.py')
    cpSync(launcher, alone)
    expect(await launched(args(), { by: alone })).toEqual(await direct())
    expect(told()).toEqual([])
  })

  it('leave no bytecode behind where they are installed', async () => {
    const { launched, root, told } = aCheckout()
    const installed = join(root, 'installed')
    cpSync(join(launcher, '..'), installed, { recursive: true, filter: isNoBytecode })
    await launched(args(), { by: join(installed, 'launcher.py') })
    expect(names(told())).toContain('saved')
    expect(existsSync(join(installed, 'wan_launcher', '__pycache__'))).toBe(false)
  })
})

describe('what a launched script says and how it ends', () => {
  it.each<[string, Spoil, string[]?]>([
    ['succeeds', () => {}],
    ['is asked for its help', () => {}, ['--help']],
    ['refuses its arguments', () => {}, ['--task', 'none']],
    ['fails while it samples', failing("raise RuntimeError('CUDA error')")],
    ['fails at a bare assertion', failing('assert not x')],
    [
      'fails while it handles another failure',
      failing(
        'try:\n            {}[x]\n        except KeyError as e:\n            raise ValueError from e',
      ),
    ],
    [
      'fails inside of what we wrap',
      (edit) => {
        edit('wan/modules/t5.py', (text) =>
          text.replace('return T5Encoder(', 'return 1 / 0, T5Encoder('),
        )
      },
    ],
    [
      'fails while it decodes, after a failure',
      (edit) => {
        const raising =
          '        try:\n            {}[1]\n        except KeyError:\n            raise MemoryError\n'
        edit('wan/modules/vae2_2.py', (text) =>
          text.replace("        return [f'a", `${raising}        return [f'a`),
        )
      },
    ],
    ['cannot save', () => {}, [...args(), '--save_file', '/no/such/dir/video.mp4']],
    ['misses a package', (edit) => edit('wan/modules/t5.py', () => 'import decord\n')],
    ['misses a name', (edit) => edit('wan/modules/t5.py', () => 'from logging import nothing\n')],
    [
      'fails while it imports',
      (edit) => edit('wan/modules/model.py', () => 'raise RuntimeError(1)\n'),
    ],
    [
      'fails while it imports, deep down',
      (edit) => edit('wan/modules/t5.py', () => 'def f():\n  1 / 0\n\nf()\n'),
    ],
    ['has a fault of syntax', script('print(1)\nif True\n')],
    ['has a module with a fault of syntax', (edit) => edit('wan/text2video.py', () => 'if True\n')],
    [
      'has bytes that are no text',
      (_, dir) => writeFileSync(join(dir, 'generate.py'), '\xff\xfe', 'latin1'),
    ],
    ['is not there', (_, dir) => rmSync(join(dir, 'generate.py'))],
    [
      'is a directory',
      (_, dir) => {
        rmSync(join(dir, 'generate.py'))
        mkdirSync(join(dir, 'generate.py'))
      },
    ],
    ['exits with a number', script('import sys\nsys.exit(137)\n')],
    ['exits with words', script('raise SystemExit("no more")\n')],
    ['exits at once', script('import os\nprint("bye", flush=True)\nos._exit(9)\n')],
    ['kills itself', script('import os\nos.kill(os.getpid(), 9)\n')],
    ['crashes', script('import ctypes\nctypes.string_at(0)\n')],
    [
      'looks at itself',
      script(
        `import sys
import wan
import wan.modules.t5 as t5
from inspect import getsource, signature
print(__name__, __file__, __spec__, __package__, __cached__, __doc__, __builtins__)
print(sorted(globals()), type(__loader__).__name__, __loader__.get_filename('__main__'))
print(sys.argv, getattr(sys, 'orig_argv', 0), sys.path, sys.modules['__main__'].__dict__ is globals())
print(sys.excepthook is sys.__excepthook__, sys._getframe().f_back and 'nested')
print(t5.__spec__.origin, t5.__spec__.loader is t5.__loader__, t5.__loader__.exec_module.__qualname__, vars(t5.__loader__), signature(t5.T5EncoderModel))
print(getsource(t5.T5EncoderModel.__init__), t5.umt5_xxl.__name__, wan.WanModel.from_pretrained if hasattr(wan, 'WanModel') else 0)
`.replace(", sys._getframe().f_back and 'nested'", ''),
      ),
    ],
    [
      'has an exception hook of its own',
      script(`import sys, traceback
import wan.modules.t5 as t5
def hook(kind, error, tb):
    print(kind, error, [f.filename for f in traceback.extract_tb(tb)], tb is error.__traceback__)
sys.excepthook = hook
t5.umt5_xxl = None
t5.T5EncoderModel(1)
`),
    ],
    ['runs code when it ends', script('import atexit\natexit.register(print, "end")\n1 / 0\n')],
    [
      'starts threads',
      script('import threading\nthreading.Thread(target=lambda: print("thread")).start()\n'),
    ],
    [
      'spawns processes of itself',
      script(`import multiprocessing as m
def f(x): return x * x
if __name__ == '__main__':
    with m.get_context('spawn').Pool(1) as pool:
        print(pool.map(f, [3]))
`),
    ],
    [
      'closes every file it knows of',
      (edit) =>
        edit('generate.py', (text) =>
          text.replace(
            '    generate(args)',
            `    os.closerange(3, 99)
    file = open('mine', 'w')
    generate(args)
    file.close()
    print(repr(open('mine').read()))`,
          ),
        ),
    ],
    [
      'uses the bar in all the ways there are',
      script(`from wan.textimage2video import tqdm
import tqdm as library
assert issubclass(tqdm, library.tqdm)
bar = tqdm(range(3))
print(len(bar), bool(bar), bar.n, bar.total, list(bar), bar.n, bar.closed, isinstance(bar, library.tqdm))
with tqdm(total=5) as bar:
    print(bar.update(2), bar.update(), bar.n)
for i in tqdm(range(9)):
    if i == 2: break
items = iter(tqdm(iter('abc')))
print(next(items), next(items)); items.close()
items = iter(tqdm('abc'))
next(items)
try: items.throw(KeyError('x'))
except KeyError as error: print(repr(error))
try:
    for i in tqdm(range(9)):
        raise ValueError(i)
except ValueError as error: print(error)
print(tqdm(range(2), disable=True).n, list(tqdm(range(2), disable=True)), tqdm.monitor_interval)
tqdm.write('written')
print(tqdm.__name__, tqdm.__module__, tqdm.__qualname__, tqdm.__doc__, list(tqdm([])))
try: tqdm(1, 2, 3, 4, 5, 6)
except TypeError as error: print('refused')
`),
    ],
  ])('is the same as without us when it %s', async (_case, spoil, argv) => {
    const { direct, launched, events } = aCheckout(spoil)
    const expected = await direct(argv)
    expect(await launched(argv)).toEqual(expected)
    if (existsSync(events))
      expect(readFileSync(events, 'utf8')).toMatch(/^(\{"event":"[a-z_]+",.*\}\n)*$/)
  })

  it.each(['SIGINT', 'SIGTERM', 'SIGKILL'])('is the same when %s ends it', async (signal) => {
    const { direct, launched } = aCheckout(
      script(`import signal, wan\nsignal.raise_signal(signal.${signal})\nprint('still there')\n`),
    )
    const expected = await direct([])
    expect(expected).toMatchObject({ signal, stdout: '' })
    expect(await launched([])).toEqual(expected)
  })

  it('leaves nothing open to the processes it starts', async () => {
    const { direct, launched, told } = aCheckout(
      script("import subprocess, wan\nsubprocess.run(['ls', '/proc/self/fd'], close_fds=False)\n"),
    )
    expect(await launched([])).toEqual(await direct([]))
    expect(names(told())).toContain('imported')
  })

  it('hears nothing of a fork of the script', async () => {
    const { launched, told } = aCheckout(
      script(`import os, wan
from wan.modules.t5 import umt5_xxl
if os.fork() == 0:
    umt5_xxl()
    os._exit(0)
os.wait()
`),
    )
    expect(await launched([])).toMatchObject({ code: 0 })
    expect(names(told())).toEqual(['started', 'imported'])
  })
})

const without = (file: string, name: string): Spoil => {
  return (edit) => edit(file, (text) => text.replaceAll(name, `Other${name.replaceAll('.', '_')}`))
}
const everywhere = (name: string): Spoil => {
  return (edit) => {
    for (const file of [
      ...['wan/textimage2video.py', 'wan/text2video.py', 'wan/image2video.py', 'wan/__init__.py'],
      ...['wan/modules/t5.py', 'wan/modules/vae2_2.py', 'wan/modules/model.py', 'generate.py'],
      'wan/utils/utils.py',
    ]) {
      without(file, name)(edit, '')
    }
  }
}

describe('a checkout that is not as we know it', () => {
  it.each<[string, string, Spoil]>([
    ['calls the text encoder otherwise', 'wan.modules.t5', everywhere('T5EncoderModel')],
    ['builds the text encoder otherwise', 'wan.modules.t5', everywhere('umt5_xxl')],
    ['calls the VAE otherwise', 'wan.modules.vae2_2', everywhere('Wan2_2_VAE')],
    ['calls the model otherwise', 'wan.modules.model', everywhere('WanModel')],
    ['calls the pipeline otherwise', 'wan.textimage2video', everywhere('WanTI2V')],
    ['saves otherwise', 'wan.utils.utils', everywhere('save_video')],
    [
      'draws no bar',
      'wan.textimage2video',
      (edit) =>
        edit('wan/textimage2video.py', (text) =>
          text.replace('from tqdm import tqdm\n', '').replace('tqdm(timesteps)', 'timesteps'),
        ),
    ],
    [
      'draws its bar by a function',
      'wan.textimage2video',
      (edit) =>
        edit('wan/textimage2video.py', (text) =>
          text.replace('from tqdm import tqdm', 'def tqdm(items): return iter(items)'),
        ),
    ],
    [
      'builds the text encoder by an object',
      'wan.modules.t5',
      (edit) =>
        edit(
          'wan/modules/t5.py',
          (text) =>
            `${text}\nclass Build:\n    __call__ = staticmethod(umt5_xxl)\numt5_xxl = Build()\n`,
        ),
    ],
    [
      'loads its model by a function',
      'wan.modules.model',
      (edit) =>
        edit(
          'wan/modules/model.py',
          (text) => `${text}\nWanModel.from_pretrained = staticmethod(lambda path: WanModel())\n`,
        ),
    ],
    [
      'has classes that cannot be changed',
      'wan.modules.vae2_2',
      (edit) =>
        edit('wan/modules/vae2_2.py', (text) =>
          text
            .replace('class Wan2_2_VAE:', 'class Wan2_2_VAE(metaclass=Frozen):')
            .replace(
              'import logging',
              "import logging\n\n\nclass Frozen(type):\n    def __setattr__(cls, *_): raise TypeError('frozen')\n",
            ),
        ),
    ],
    [
      'has no such module',
      'wan.modules.model',
      (edit, dir) => {
        edit('wan/modules/dit.py', () => readFileSync(join(dir, 'wan/modules/model.py'), 'utf8'))
        rmSync(join(dir, 'wan/modules/model.py'))
        for (const file of ['wan/textimage2video.py', 'wan/text2video.py', 'wan/image2video.py']) {
          edit(file, (text) => text.replace('.modules.model', '.modules.dit'))
        }
      },
    ],
    [
      'is one file',
      'none',
      (edit, dir) => {
        rmSync(join(dir, 'wan'), { recursive: true })
        edit('generate.py', () => "print('all in one')\n")
      },
    ],
  ])('still generates when it %s', async (_case, where, spoil) => {
    const { direct, launched, told } = aCheckout(spoil)
    const expected = await direct()
    expect(expected.code).toBe(0)
    expect(await launched()).toEqual(expected)
    const why = told().find(({ event }) => event === 'fallback')?.why
    if (where !== 'none') expect(why).toContain(where)
  })

  it('may give its functions other arguments', async () => {
    const { direct, launched, told } = aCheckout((edit) => {
      edit('wan/modules/t5.py', (text) =>
        text
          .replace(
            'self, text_len, checkpoint_path=None',
            'self, *, checkpoint_path, extra=1, text_len',
          )
          .replace('umt5_xxl(**kwargs)', 'umt5_xxl(encoder_only, /, **kwargs)')
          .replace('encoder_only=True', 'True'),
      )
    })
    expect(await launched()).toEqual(await direct())
    expect(names(told())).toEqual([...loading(1), ...generating])
  })

  it('may import a module twice', async () => {
    const { direct, launched } = aCheckout(
      script(`import importlib, sys, wan
import wan.modules.t5 as t5
importlib.reload(t5)
del sys.modules['wan.modules.t5']
import wan.modules.t5 as again
print(again is t5, again.T5EncoderModel(1)(['a'], None))
`),
    )
    expect(await launched([])).toEqual(await direct([]))
  })
})

describe('events that cannot be written', () => {
  it.each([
    ['there is no such directory', '/no/such/directory/events.jsonl'],
    ['it is a directory', '/tmp'],
    ['its disk is full', '/dev/full'],
    ['it has a name of no use', 'x'.repeat(300)],
  ])('do not matter: %s', async (_case, eventsFile) => {
    const { direct, launched } = aCheckout()
    expect(await launched(args(), { eventsFile })).toEqual(await direct())
  })

  it('do not matter where nobody may write, or nobody reads', async () => {
    const { direct, launched, root } = aCheckout()
    const expected = await direct()
    const pipe = join(root, 'pipe')
    execFileSync('mkfifo', [pipe])
    expect(await launched(args(), { eventsFile: pipe })).toEqual(expected)
    const closed = join(root, 'closed')
    mkdirSync(closed)
    chmodSync(closed, 0o555)
    expect(await launched(args(), { eventsFile: join(closed, 'events') })).toEqual(expected)
  })
})

describe('the text encoder with --fast-load', () => {
  const fast = { options: ['--fast-load'] }
  const t5 = (from: string, to: string): Spoil => {
    return (edit) =>
      edit('wan/modules/t5.py', (text) => {
        expect(text).toContain(from)
        return text.replace(from, to)
      })
  }
  const torch = (from: string, to: string): Spoil => {
    return (edit) => edit('torch.py', (text) => text.replaceAll(from, to))
  }
  const calls = script(`import torch, wan
from wan.modules.t5 import T5EncoderModel
print(T5EncoderModel(512, checkpoint_path='/ckpt/t5.pth')(['a'], 'cpu'), torch.calls)
`)
  const scriptsOwn = "['A'] ['build on cpu', 'read /ckpt/t5.pth', 'copy']\n"

  it('is made without numbers, and gets those of its file as they are mapped', async () => {
    const { launched, direct, told } = aCheckout(calls)
    expect(await direct([])).toMatchObject({ stdout: scriptsOwn, stderr: '' })
    expect(await launched([], fast)).toMatchObject({
      stdout: "['A'] ['map /ckpt/t5.pth', 'build on meta', 'assign']\n",
      stderr: '',
    })
    expect(names(told())).not.toContain('fallback')
  })

  it('changes nothing that the script or the service see', async () => {
    const { launched, direct, told } = aCheckout()
    expect(await launched(args(), fast)).toEqual(await direct())
    expect(names(told())).toEqual([...loading(1), ...generating])
  })

  it('leaves the script alone afterwards', async () => {
    const { launched, direct } = aCheckout(
      script(`import torch, wan
from wan.modules import t5
model = t5.T5EncoderModel(512, checkpoint_path='/ckpt/t5.pth').model
print(t5.torch is torch, 'load_state_dict' in vars(model), t5.torch.load is torch.load)
print(model.load_state_dict({'weight': torch.Tensor(2, 3)}), t5.umt5_xxl.__name__)
`),
    )
    expect(await launched([], fast)).toEqual(await direct([]))
  })

  it.each<[string, Spoil, RegExp]>([
    ['PyTorch cannot map files', torch('mmap', 'other'), /^Unexpected: PyTorch 2.8.0 cannot mmap/],
    ['PyTorch cannot assign weights', torch('assign', 'other'), /cannot assign/],
    [
      'the file cannot be mapped',
      torch(
        '    calls.append(f\'{"map"',
        '    if mmap: raise RuntimeError("old format")\n    calls.append(f\'{"map"',
      ),
      /RuntimeError: old format/,
    ],
    [
      'the file has other weights',
      t5("['weight'] = ", "['heavy'] = "),
      /other weights: heavy, weight/,
    ],
    [
      'a weight has another shape',
      t5('torch.Tensor(2, 3', 'torch.Tensor(3, 2'),
      /weight is \(2, 3\)/,
    ],
    [
      'a weight has another type',
      t5('dtype=torch.bfloat16', "dtype='float32'"),
      /float32 in the model/,
    ],
    [
      'a tensor is in no file',
      t5(
        '    def __call__(self, texts):',
        '        self.angle = torch.Tensor(1, device=device)\n\n    def __call__(self, texts):',
      ),
      /T5Encoder has tensors/,
    ],
    ['it is made on another device', t5("device='cpu'", "device='cuda:0'"), /other arguments/],
    ['it is made with a tokenizer', t5('tokenizer=False', 'tokenizer=True'), /other arguments/],
    [
      'it is made with arguments without names',
      (edit) =>
        edit('wan/modules/t5.py', (text) =>
          text
            .replace('umt5_xxl(**', 'umt5_xxl(encoder_only, **')
            .replace('encoder_only=True', 'True'),
        ),
      /other arguments/,
    ],
    [
      'its function is another',
      t5(
        'class T5EncoderModel',
        'umt5_xxl = type("Build", (), {"__call__": staticmethod(umt5_xxl)})()\n\nclass T5EncoderModel',
      ),
      /umt5_xxl is no function/,
    ],
  ])('is left to the script, with the reason, when %s', async (_case, spoil, why) => {
    const { launched, direct, told } = aCheckout((edit, dir) => {
      calls(edit, dir)
      spoil(edit, dir)
    })
    const expected = await direct([])
    const { stdout, stderr } = await launched([], fast)
    expect(stderr).toBe(expected.stderr)
    expect(stdout.endsWith(expected.stdout.replace("['A'] [", ''))).toBe(true)
    expect(told()).toContainEqual(
      expect.objectContaining({
        event: 'fallback',
        part: 'fast_load',
        why: expect.stringMatching(why),
      }),
    )
  })

  it('is read again where the script reads another file than it names', async () => {
    const { launched } = aCheckout((edit, dir) => {
      calls(edit, dir)
      t5('torch.load(checkpoint_path', "torch.load(checkpoint_path + '.new'")(edit, dir)
    })
    expect(await launched([], fast)).toMatchObject({
      stdout:
        "['A'] ['map /ckpt/t5.pth', 'build on meta', 'assign', 'read /ckpt/t5.pth.new', 'copy']\n",
    })
  })

  it('fails as it would without us when its file cannot be read', async () => {
    const { launched, direct } = aCheckout((edit, dir) => {
      calls(edit, dir)
      torch('    calls.append(f\'{"map"', '    open(path)\n    calls.append(f\'{"map"')(edit, dir)
    })
    const expected = await direct([])
    expect(expected.stderr).toContain('FileNotFoundError')
    expect(await launched([], fast)).toEqual(expected)
  })
})

describe('a negative prompt', () => {
  const owls = { options: ['--negative-prompt=owls, generate.py --sdpa'] }
  const videoIn = (dir: string) => join(dir, 'video.mp4')
  const refusal =
    'generate.py: error: this checkout has no sample_neg_prompt for the negative_prompt\n'

  it.each(['ti2v-5B', 't2v-A14B', 'i2v-A14B'])(
    'replaces that of the configuration: %s',
    async (task) => {
      const { dir, launched, direct } = aCheckout()
      const expected = await direct(args(task))
      expect(readFileSync(videoIn(dir), 'utf8')).toBe('a video of a fox, not blur')
      expect(await launched(args(task), owls)).toEqual(expected)
      expect(readFileSync(videoIn(dir), 'utf8')).toBe(
        'a video of a fox, not owls, generate.py --sdpa',
      )
    },
  )

  const allPipelines = (from: string, to: string): Spoil => {
    return (edit) => {
      for (const file of ['textimage2video', 'text2video', 'image2video', '__init__']) {
        edit(`wan/${file}.py`, (text) => text.replaceAll(from, to))
      }
      edit('generate.py', (text) => text.replaceAll(from, to))
    }
  }
  it.each<[string, Spoil, boolean]>([
    ['its pipelines have no name for it', allPipelines('sample_neg_prompt', 'negative'), false],
    ['its pipelines have other names', allPipelines('wan.Wan', 'wan.Other'), false],
    ['its pipeline has another name', everywhere('WanTI2V'), true],
    [
      'it is one file',
      (edit, dir) => {
        rmSync(join(dir, 'wan'), { recursive: true })
        edit('generate.py', () => "open('video.mp4', 'w').close()\n")
      },
      true,
    ],
  ])('is refused by a checkout where %s', async (_case, spoil, isLate) => {
    const { dir, launched } = aCheckout((edit, at) => {
      spoil(edit, at)
      if (_case === 'its pipelines have other names') {
        for (const file of ['textimage2video', 'text2video', 'image2video', '__init__']) {
          edit(`wan/${file}.py`, (text) => text.replaceAll(/\bWan(TI2V|T2V|I2V)\b/g, 'Other$1'))
        }
      }
    })
    const run = await launched(args(), owls)
    expect(run.code).toBe(2)
    expect(run.stderr.endsWith(refusal)).toBe(true)
    expect(existsSync(videoIn(dir))).toBe(isLate)
  })

  it('is no reason to run the script without the modules of the launcher', async () => {
    const { dir, launched, root } = aCheckout()
    const alone = join(root, 'launcher.py')
    cpSync(launcher, alone)
    expect((await launched(args(), { ...owls, by: alone })).code).toBe(1)
    expect(existsSync(videoIn(dir))).toBe(false)
  })
})

describe('attention without flash-attn', () => {
  const missing: Spoil = (edit) =>
    edit('wan/modules/attention.py', (text) =>
      text.replace('FLASH_ATTN_2_AVAILABLE = True', 'FLASH_ATTN_2_AVAILABLE = False'),
    )

  it('is left to fail when nobody asked for another', async () => {
    const { launched, direct } = aCheckout(missing)
    const run = await launched()
    expect(run).toEqual(await direct())
    expect(run.stderr).toMatch(/assert FLASH_ATTN_2_AVAILABLE\n[ ^]*\n?AssertionError/)
  })

  it('is not replaced where flash-attn is there', async () => {
    const { launched, told } = aCheckout()
    expect(await launched(args(), { options: ['--sdpa'] })).toMatchObject({ code: 0 })
    expect(names(told())).not.toContain('sdpa')
  })

  it('is PyTorch’s: heads in front, half precision, and only the keys that count', async () => {
    const { launched, told } = aCheckout((edit, dir) => {
      missing(edit, dir)
      edit('torch.py', (text) => text + tensors)
      edit('generate.py', () => attentionScript)
    })
    const { stdout, stderr } = await launched([], { options: ['--sdpa'] })
    expect(stderr).toBe('')
    expect(stdout.trim().split('\n')).toEqual([
      'q 2x8x6x4 bfloat16 k 2x8x5x4 bfloat16 v 2x8x5x4 bfloat16 0.0 None',
      '2x6x8x4 float32',
      // Each sample has its own number of keys.
      'q 1x8x6x4 float16 k 1x8x5x4 float16 v 1x8x5x4 float16 0.1 0.5',
      'q 1x8x6x4 float16 k 1x8x3x4 float16 v 1x8x3x4 float16 0.1 0.5',
      '2x6x8x4 float16',
      // Two heads of the query share one of the keys.
      'q 2x8x6x4 bfloat16 k 2x8x5x4 bfloat16 v 2x8x5x4 bfloat16 0.0 None',
      '2x6x8x4 float32',
      'AssertionError',
      'AssertionError',
    ])
    expect(names(told())).toContain('sdpa')
  })
})

/** Tensors that know nothing but their shape and type. */
const tensors = `
class Tensor:
    def __init__(self, *shape, dtype='float32'):
        self.shape, self.dtype = shape, dtype

    def __repr__(self):
        return 'x'.join(map(str, self.shape)) + ' ' + self.dtype

    def size(self, n):
        return self.shape[n]

    def to(self, dtype):
        return Tensor(*self.shape, dtype=dtype)

    type = to

    def contiguous(self):
        return self

    def transpose(self, a, b):
        shape = list(self.shape)
        shape[a], shape[b] = shape[b], shape[a]
        return Tensor(*shape, dtype=self.dtype)

    def repeat_interleave(self, n, dim):
        return Tensor(*(s * n if i == dim else s for i, s in enumerate(self.shape)), dtype=self.dtype)

    def __mul__(self, other):
        return self

    def __getitem__(self, parts):
        parts = parts if isinstance(parts, tuple) else (parts,)
        cut = [len(range(size)[part]) for size, part in zip(self.shape, parts)]
        return Tensor(*cut, *self.shape[len(cut):], dtype=self.dtype)


def cat(parts):
    return Tensor(sum(p.shape[0] for p in parts), *parts[0].shape[1:], dtype=parts[0].dtype)


class functional:
    @staticmethod
    def scaled_dot_product_attention(q, k, v, dropout_p, scale):
        print('q', q, 'k', k, 'v', v, dropout_p, scale)
        return Tensor(*q.shape[:-1], v.shape[-1], dtype=q.dtype)


nn.functional = functional
`

const attentionScript = `
import wan
from torch import Tensor
from wan.modules.model import flash_attention
q, k, v = Tensor(2, 6, 8, 4), Tensor(2, 5, 8, 4), Tensor(2, 5, 8, 4)
print(flash_attention(q=q, k=k, v=v, k_lens=[5, 5], window_size=(-1, -1)))
half = [t.to('float16') for t in (q, k, v)]
print(flash_attention(*half, k_lens=[5, 3], dropout_p=0.1, softmax_scale=0.5, q_scale=2))
print(flash_attention(q, Tensor(2, 5, 4, 4), Tensor(2, 5, 4, 4)))
for other in ({'causal': True}, {'window_size': (3, 3)}):
    try:
        flash_attention(q, k, v, **other)
    except AssertionError:
        print('AssertionError')
`
