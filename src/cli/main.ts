/** `wanctl`: what can be typed, with which words, and what of it is done where. */
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { version } from '../config/version.ts'
import { jobStatuses, videoSizes } from '../domain/job.ts'
import { wanTaskNames, wanTasks } from '../domain/wan-tasks.ts'
import { defaultUrl } from './client/service.ts'
import { cancel } from './commands/cancel.ts'
import { addCompletion } from './commands/completion.ts'
import { drain } from './commands/drain.ts'
import { generate } from './commands/generate.ts'
import { gpus } from './commands/gpus.ts'
import { list } from './commands/list.ts'
import { logs } from './commands/logs.ts'
import { nodeActions, nodes } from './commands/nodes.ts'
import { reload } from './commands/reload.ts'
import { restart } from './commands/restart.ts'
import { resume } from './commands/resume.ts'
import { status } from './commands/status.ts'
import { tasks } from './commands/tasks.ts'
import { wait } from './commands/wait.ts'
import { CommandError, exitCodes } from './terminal/failure.ts'
import { endQuietlyWithReader, say } from './terminal/output.ts'
import { colored } from './terminal/text.ts'

/** Runs one command; the process ends with its code when nothing is left to do. */
export async function main(argv: readonly string[]): Promise<void> {
  endQuietlyWithReader()
  const program = createProgram()
  try {
    await addCompletion(program, argv)
    await program.parseAsync(argv)
  } catch (error) {
    process.exitCode = report(error)
  }
}

function report(error: unknown): number {
  // commander has said what there is to say.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitCodes.usage
  if (!(error instanceof CommandError)) throw error
  say(`${colored('red', 'wanctl:', process.stderr)} ${error.message}`)
  return error.exitCode
}

function createProgram(): Command {
  const program = new Command('wanctl')
    .description('Makes videos with Wan2.2 on the GPUs of a wan-supervisor.')
    .version(version)
    .addOption(new Option('--url <url>', 'where the service is').env('WAN_URL').default(defaultUrl))
    .option('--json', 'write results as JSON: one document, or a line for each event', false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', exitCodesHelp)

  /** A command whose action gets the global options with its own. */
  const command = (usage: string, summary: string, examples: readonly string[]): Command =>
    program
      .command(usage)
      .description(summary)
      .addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}\n`)

  command('serve', 'run the service here, by the environment; see docs/configuration.md', [
    'WAN_DIR=/opt/Wan2.2 WAN_CKPT_DIR=/models/Wan2.2-TI2V-5B wanctl serve',
    'wanctl serve --sim        # two simulated GPUs',
    'wanctl serve --sim 4',
  ])
    .addOption(
      new Option('--sim [gpus]', 'simulate so many GPUs: no card, no model')
        .argParser(wholeNumber(1, 64))
        .preset('2'),
    )
    .action(async (options) => (await import('./commands/serve.ts')).serve(options))

  command('generate <prompt>', 'make a video of a prompt', [
    'wanctl generate "A red fox walks through fresh snow"',
    'wanctl generate "A red fox walks through fresh snow" -o fox.mp4',
    'wanctl generate "It turns its head" --image fox.png --size 720x1280 --wait',
    'id=$(wanctl generate "A red fox" --seed 42 --steps 30)',
  ])
    .addOption(new Option('--size <size>', 'of the video').choices(videoSizes).default('1280x720'))
    .option('--negative-prompt <text>', 'what the video should not show')
    .option('--seed <number>', 'the same one makes the same video', wholeNumber(0))
    .option('--steps <number>', 'sampling steps', wholeNumber(1))
    .option('--frames <number>', `4n+1; a second has ${framesPerSecond}`, wholeNumber(1))
    .option('--image <file>', 'the picture to begin with: PNG, JPEG or WebP')
    .option('-o, --output <file>', 'download the video to this file or directory; waits for it')
    .option('--force', 'replace the file if it is there')
    .option('--wait', 'wait until the video is there, and show how far it is')
    .action((prompt, _, self) => generate(prompt, self.optsWithGlobals()))

  command('wait', 'wait for the video of a job, and show how far it is', [
    'wanctl wait 0b9c8a52',
    'wanctl wait latest -o fox.mp4',
  ])
    .addArgument(job())
    .option('-o, --output <file>', 'download the video to this file or directory')
    .option('--force', 'replace the file if it is there')
    .action((reference, _, self) => wait(reference, self.optsWithGlobals()))

  command('list', 'list jobs, the latest first', [
    'wanctl list',
    'wanctl list --status queued,running',
    'wanctl list --limit 1000 --json',
  ])
    .option('--status <statuses>', `only these, separated by commas: ${jobStatuses.join(', ')}`)
    .option('--limit <number>', 'how many at most', wholeNumber(1), 20)
    .action((_, self) => list(self.optsWithGlobals()))

  command('status', 'show how a job stands, or the service', [
    'wanctl status',
    'wanctl status 0b9c8a52',
    'wanctl status latest --json',
  ])
    .addArgument(job('[job]'))
    .action((reference, _, self) => status(reference, self.optsWithGlobals()))

  command('logs', 'show what generate.py said', ['wanctl logs', 'wanctl logs 0b9c8a52 --follow'])
    .addArgument(job('[job]').default('latest'))
    .option('-f, --follow', 'go on until the job is over')
    .action((reference, _, self) => logs(reference, self.optsWithGlobals()))

  command('cancel', 'cancel jobs that are queued or running', [
    'wanctl cancel 0b9c8a52',
    'wanctl cancel --status queued',
    'wanctl cancel --all       # of everybody; for admins',
  ])
    .addArgument(job('[jobs...]'))
    .option('--status <statuses>', 'all of yours that are so: queued, running')
    .option('--all', 'all jobs of everybody')
    .action((references, _, self) => cancel(references, self.optsWithGlobals()))

  command('gpus', 'show every GPU and what it does', ['wanctl gpus', 'wanctl gpus --json']).action(
    (_, self) => gpus(self.optsWithGlobals()),
  )

  command('restart', 'restart the actor of a GPU', [
    'wanctl restart 0',
    'wanctl restart 0 --job requeue',
  ])
    .addArgument(gpu())
    .addOption(
      new Option('--job <fate>', 'what becomes of the job that it runs')
        .choices(['adopt', 'requeue', 'fail'])
        .default('adopt'),
    )
    .action((id, _, self) => restart(id, self.optsWithGlobals()))

  command('drain', 'let a GPU end what it runs and take nothing new', ['wanctl drain 0'])
    .addArgument(gpu())
    .action((id, _, self) => drain(id, self.optsWithGlobals()))

  command('resume', 'let a GPU take jobs again, drained or in quarantine', ['wanctl resume 0'])
    .addArgument(gpu())
    .action((id, _, self) => resume(id, self.optsWithGlobals()))

  command('nodes', 'show every node, or drain, resume or remove one', [
    'wanctl nodes',
    'wanctl nodes drain gpu-7',
    'wanctl nodes remove gpu-7    # when the machine is off',
  ])
    .addArgument(new Argument('[action]', 'for one node').choices(nodeActions))
    .addArgument(new Argument('[node]', 'its name'))
    .action((action, name, _, self) => nodes(action, name, self.optsWithGlobals()))

  command('tasks', 'show each task with its template', [
    'wanctl tasks',
    'wanctl tasks --json',
  ]).action((_, self) => tasks(self.optsWithGlobals()))

  command('reload', 'load the template of a task again', ['wanctl reload ti2v-5B'])
    .addArgument(new Argument('<task>', 'its name'))
    .action((name, _, self) => reload(name, self.optsWithGlobals()))

  command('migrate', 'move the records of a stopped service from SQLite to PostgreSQL', [
    'DATA_DIR=/srv/wan DATABASE_URL=postgres://wan:secret@db.lan/wan wanctl migrate',
    'wanctl migrate --to postgres://wan@db.lan/wan     # the password is in ~/.pgpass',
  ])
    .addOption(new Option('--to <url>', 'the PostgreSQL database').env('DATABASE_URL'))
    .action(async (_, self) =>
      (await import('./commands/migrate.ts')).migrate(self.optsWithGlobals()),
    )

  command('doctor', 'look whether this machine has what the service needs', [
    'wanctl doctor',
    'WAN_PYTHON=/opt/venv/bin/python3 wanctl doctor --json',
  ]).action(async (_, self) =>
    (await import('./commands/doctor.ts')).doctor(self.optsWithGlobals()),
  )

  return program
}

const exitCodesHelp = `
Environment:
  WAN_URL     where the service is, unless --url says so (${defaultUrl})
  WAN_TOKEN   the token, where the service asks for one
  NO_COLOR    no colours

Exit codes:
  0  done                      4  no token, or one that does not allow this
  1  failed, refused, a fault  5  there is no such job, video, GPU, node or task
  2  wrong usage               6  a file here cannot be read, or is in the way
  3  no service answers        130, 143  interrupted
`

const job = (name = '<job>') =>
  new Argument(name, 'its id, at least four characters of it, or "latest"')

const gpu = () => new Argument('<gpu>', 'its number')

const framesPerSecond = wanTaskNames.map((task) => `${wanTasks[task].fps} (${task})`).join(', ')

function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER) {
  return (text: string): number => {
    const number = Number(text)
    if (/^\d+$/.test(text) && number >= min && number <= max) return number
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
  }
}
