/** What a shell may offer beside the names of commands and options: files, jobs and GPUs. */
import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { RootCommand } from '@bomb.sh/tab'
import { parseResponse } from '../http/typed-client.ts'
import { latestJobs, shortId } from './job-reference.ts'
import { connect, defaultUrl } from './service.ts'
import { plain } from './text.ts'

/** Whoever presses a key waits no longer than this for names; without them there are fewer. */
const patienceMs = 1_000

const ofJobs = ['wait', 'status', 'logs', 'cancel']
const ofGpus = ['restart', 'drain', 'resume']

/** Asks for names only when a shell asks for a completion that may need them. */
export async function completeValues(shell: RootCommand, argv: readonly string[]): Promise<void> {
  const [, , word, separator, command = '', ...rest] = argv
  if (word !== 'complete' || separator !== '--') return
  const typed = rest.at(-1) ?? ''
  for (const name of ['generate', 'wait']) {
    for (const option of ['output', 'image']) {
      const known = shell.commands.get(name)?.options.get(option)
      if (known)
        known.handler = (complete) => {
          for (const file of filesLike(typed)) complete(file, '')
        }
    }
  }
  const names = ofJobs.includes(command)
    ? await jobNames()
    : ofGpus.includes(command)
      ? await gpuNames()
      : []
  for (const argument of shell.commands.get(command)?.arguments.values() ?? []) {
    argument.handler = (complete) => {
      for (const [value, about] of names) complete(value, about)
    }
  }
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
