/** Templates of the simulator, and attempts that are started warm or cold. */
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { createForkServer, type TemplateRun } from '../../../src/infra/processes/fork-server.ts'
import type { ShimStarted } from '../../../src/infra/processes/fork-server-life.ts'
import type { TemplateNews } from '../../../src/infra/processes/fork-server-messages.ts'
import { anAttempt, cleanUp, isAlive, shimPath, until } from '../shim-attempt.ts'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
/** Python itself: `python3` may be a wrapper that adds to the environment. */
export const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'])
  .toString()
  .trim()

const launcher = at('../../../src/infra/generation/launcher.py')
const simulator = at('../../../sim')
const introspect = at('introspect.py')

export const fast = {
  ...process.env,
  SIM_SPEED: '1000',
  SIM_DIRECTIVES: '1',
  PYTHONUNBUFFERED: '1',
  PYTHONUTF8: '1',
  CUDA_VISIBLE_DEVICES: '3',
}

/** Output of a Python program that can import the modules beside `shim.py`. */
export function runPython(...lines: string[]): string {
  const program = ['import sys; sys.path.insert(0, sys.argv[1])', ...lines].join('\n')
  return execFileSync(python, ['-c', program, dirname(shimPath)]).toString()
}

/** A copy of the simulator that a test may change, and a checkpoint. */
export function aCheckout({ script }: { script?: 'introspect' } = {}) {
  const { root } = anAttempt()
  const cwd = join(root, 'checkout')
  const checkpoint = join(root, 'checkpoint')
  cpSync(simulator, cwd, { recursive: true, filter: (path) => !path.includes('__pycache__') })
  cpSync(join(cwd, 'wan/configs'), checkpoint, { recursive: true })
  if (script === 'introspect') cpSync(introspect, join(cwd, 'generate.py'))
  return {
    root,
    cwd,
    checkpoint,
    write: (path: string, text: string) => write(join(root, path), text),
  }
}

const write = (path: string, text: string) => writeFileSync(path, text)

export type Checkout = ReturnType<typeof aCheckout>

export function aForkServer(answers: Parameters<typeof createForkServer>[1] = {}) {
  const server = createForkServer(python, answers)
  onTestFinished(async () => {
    await server.close()
    await cleanUp()
  })
  return server
}

type ForkServer = ReturnType<typeof aForkServer>

type TemplateOptions = Readonly<{ by?: string; hasStandby?: boolean }>

export function aTemplate(
  server: ForkServer,
  { cwd, checkpoint }: Checkout,
  env: NodeJS.ProcessEnv = fast,
  { by = python, hasStandby = false }: TemplateOptions = {},
) {
  const setup = {
    ...{ launcher, options: [], script: 'generate.py', cwd, task: 'ti2v-5B', checkpoint },
    arguments: [],
  }
  const news: TemplateNews[] = []
  const order = { python: by, setup, env, hasStandby }
  const run = server.startTemplate(order, (one) => news.push(one))
  const heard = async (kind: TemplateNews['template']) => {
    await until(() => news.some((one) => one.template === kind), `the template to be ${kind}`)
    return news.find((one) => one.template === kind)
  }
  return {
    run,
    news,
    heard,
    pid: () => templatesIn(cwd)[0] ?? 0,
  }
}

export const templatesIn = (cwd: string): number[] => namedIn(cwd, 'wan-template')
export const standbysIn = (cwd: string): number[] => namedIn(cwd, 'wan-standby')

const namedIn = (cwd: string, name: string): number[] =>
  everyone().filter((pid) => nameOf(pid) === name && argsOf(pid).includes(cwd))

export async function aReadyTemplate(
  server: ForkServer,
  checkout: Checkout,
  env: NodeJS.ProcessEnv = fast,
  options: TemplateOptions = {},
) {
  const template = aTemplate(server, checkout, env, options)
  await template.heard('ready')
  return template
}

/** An attempt at a generation in the simulator, as the service writes it. */
export function aGeneration(
  { cwd, checkpoint, root }: Checkout,
  { prompt = 'a fox', args = [] as string[], options = [] as string[] } = {},
) {
  const made = anAttempt()
  const file = (name: string) => join(made.dir, name)
  const argv = [
    ...[python, launcher, ...options, file('events.jsonl'), 'generate.py', '--task', 'ti2v-5B'],
    ...['--size', '1280*704', '--frame_num', '5', '--sample_steps', '4', '--base_seed', '7'],
    ...['--ckpt_dir', checkpoint, '--save_file', file('video.mp4'), `--prompt=${prompt}`, ...args],
  ]
  writeFileSync(file('spec.json'), JSON.stringify({ ...made.spec, argv, cwd }))
  return {
    ...made,
    argv,
    root,
    events: () =>
      made
        .read('events.jsonl')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { event: string; at: number }),
    /** What a script says, without the name of the attempt. */
    said: (stream: 'stdout' | 'stderr') =>
      made
        .read(`${stream}.log`)
        .replaceAll(made.dir, 'DIR')
        .replaceAll(/^\[[-\d]+ [\d:,]+\] /gm, ''),
    /** The generation has come so far. */
    reaches: (event: string) =>
      until(
        () => made.has('events.jsonl') && made.read('events.jsonl').includes(`"${event}"`),
        `the generation to reach ${event}`,
      ),
  }
}

export type Generation = ReturnType<typeof aGeneration>

/** Starts it, from the template if there is one. */
export function start(
  server: ForkServer,
  { dir }: Generation,
  { template, env = fast }: { template?: TemplateRun | undefined; env?: NodeJS.ProcessEnv } = {},
) {
  let how: ShimStarted | undefined
  const ended = server.startShim(dir, env, {
    template,
    onStarted: (started) => {
      how = started
    },
  })
  return {
    ended,
    started: async () => {
      await until(() => how !== undefined, 'the shim to be started')
      return how
    },
  }
}

// Processes

export const everyone = () => pidsOf('/proc').filter(isAlive)
export const nameOf = (pid: number) => read(`/proc/${pid}/comm`).trim()
export const argsOf = (pid: number) => read(`/proc/${pid}/cmdline`)
export const statOf = (pid: number) =>
  read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? []
export const parentOf = (pid: number) => Number(statOf(pid)[1])
export const descriptorsOf = (pid: number) => pidsOf(`/proc/${pid}/fd`).length
export const oomScoreOf = (pid: number) => Number(read(`/proc/${pid}/oom_score_adj`))

export const privateKiB = (pid: number) =>
  Number(/RssAnon:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1])

function pidsOf(directory: string): number[] {
  return readdirSync(directory)
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
