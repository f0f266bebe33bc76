/** Suggestions for a shell beside the names of commands and options: files, jobs, GPUs, nodes and tasks. */
import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type RootCommand, script } from '@bomb.sh/tab'
import tab from '@bomb.sh/tab/commander'
import type { Command } from 'commander'
import { parseResponse } from '../../http/typed-client.ts'
import { latestJobs, shortId } from '../client/job-reference.ts'
import { connect, defaultUrl } from '../client/service.ts'
import { plain } from '../terminal/text.ts'

/** Whoever presses a key waits no longer than this for names; without them there are fewer. */
const patienceMs = 1_000

/**
 * The library's own script for bash runs `eval` on what has been typed so far, expands what it offers as
 * a shell would, and needs a package that not every machine has.
 */
const bashScript = `# bash completion for wanctl
_wanctl() {
  local value about
  COMPREPLY=()
  case $3 in -o | --output | --image) return ;; esac
  while IFS=$'\\t' read -r value about; do
    [[ $value == :* ]] || COMPREPLY+=("$value")
  done < <(wanctl complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _wanctl wanctl
`

/** Adds `completion <shell>`, and what the scripts it prints ask for. */
export async function addCompletion(program: Command, argv: readonly string[]): Promise<void> {
  const shell = tab(program, { completionCommandName: 'completion' })
  program.commands
    .find((command) => command.name() === 'completion')
    ?.description(
      'print what makes a shell complete commands, options, jobs, GPUs, nodes and tasks',
    )
    .addHelpText('after', completionHelp)
    .action((name: string) => {
      if (name === 'bash') process.stdout.write(bashScript)
      else script(name, 'wanctl', 'wanctl')
    })
  await completeValues(shell, argv)
}

const completionHelp = `
Examples:
  wanctl completion bash > ~/.local/share/bash-completion/completions/wanctl
  wanctl completion zsh > "\${fpath[1]}/_wanctl"
  wanctl completion fish > ~/.config/fish/completions/wanctl.fish
`

/** Asks the service for names only when a shell asks for a completion that may need them. */
async function completeValues(shell: RootCommand, argv: readonly string[]): Promise<void> {
  const [, , word, separator, command = '', ...rest] = argv
  if (word !== 'complete' || separator !== '--') return
  const typed = rest.at(-1) ?? ''
  for (const option of ['output', 'image']) {
    const known = shell.commands.get(command)?.options.get(option)
    if (known) known.handler = offer(() => filesLike(typed).map((file) => [file, '']))
  }
  const names = await namesFor(command)
  for (const argument of shell.commands.get(command)?.arguments.values() ?? []) {
    argument.handler ??= offer(() => names)
  }
}

const offer =
  (names: () => readonly Name[]) =>
  (complete: (value: string, about: string) => void): void => {
    for (const [value, about] of names()) complete(value, about)
  }

async function namesFor(command: string): Promise<readonly Name[]> {
  if (['wait', 'status', 'logs', 'cancel'].includes(command)) return jobNames()
  if (['restart', 'drain', 'resume'].includes(command)) return gpuNames()
  if (command === 'reload') return taskNames()
  if (command === 'nodes') return nodeNames()
  return []
}

type Name = readonly [value: string, about: string]

const api = () => connect({ url: process.env.WAN_URL || defaultUrl })

const inTime = <Answer>(asked: Promise<Answer[]>): Promise<Answer[]> =>
  Promise.race([
    asked.catch(() => []),
    new Promise<Answer[]>((resolve) => setTimeout(resolve, patienceMs, []).unref()),
  ])

const jobNames = (): Promise<Name[]> =>
  inTime(
    Array.fromAsync(latestJobs(api(), 20), ({ id, status, prompt }) => [
      shortId(id),
      plain(`${status}: ${prompt.slice(0, 60)}`),
    ]),
  )

const gpuNames = (): Promise<Name[]> =>
  inTime(
    parseResponse(api().gpus.$get()).then(({ gpus }) =>
      gpus.map(({ id, state }) => [String(id), state] as const),
    ),
  )

const taskNames = (): Promise<Name[]> =>
  inTime(
    parseResponse(api().tasks.$get()).then(({ tasks }) =>
      tasks.map(({ task, template }) => [task, template.state] as const),
    ),
  )

const nodeNames = (): Promise<Name[]> =>
  inTime(
    parseResponse(api().nodes.$get()).then(({ nodes }) =>
      nodes.map(({ name, state }) => [name, state] as const),
    ),
  )

function filesLike(typed: string): string[] {
  const directory = typed.endsWith('/') ? typed : dirname(typed)
  try {
    return readdirSync(directory, { withFileTypes: true }).map((entry) => {
      const path = typed.startsWith('./')
        ? `./${join(directory, entry.name)}`
        : join(directory, entry.name)
      return entry.isDirectory() ? `${path}/` : path
    })
  } catch {
    return []
  }
}
