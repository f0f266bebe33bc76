/** What runs, as the kernel tells it: nothing here asks the service. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'

/** With the time of its start a pid names one process and no later one. */
export type Identity = Readonly<{ pid: number; started: string }>

type Process = Identity & Readonly<{ parent: number; args: readonly string[] }>

/** Somebody who can be killed; `attempt` is `{job}/{epoch}`. */
export type Victim = Identity & Readonly<{ role: Role; attempt: string }>
type Role = 'shim' | 'generation' | 'conversion'

export type Cast = Readonly<{
  shims: readonly Victim[]
  generations: readonly Victim[]
  conversions: readonly Victim[]
  /** Processes that have loaded, or are loading, and are forked for generations. */
  templates: readonly Identity[]
  /** Processes that were forked from them and wait for a generation. */
  standbys: readonly Identity[]
}>

/**
 * The processes at work for this data directory, told by the paths in their arguments. A generation that was
 * forked has those of one that was started cold, as soon as it has begun.
 */
export function castOf(dataDir: string): Cast {
  const all = processesNaming(dataDir)
  const victims = (role: Role, is: (process: Process) => boolean) =>
    all.filter(is).flatMap((process) => toVictim(role, process))
  const runs = (process: Process | undefined, script: string) =>
    process?.args.some((arg) => basename(arg) === script) ?? false
  const parentOf = ({ parent }: Process) => all.find(({ pid }) => pid === parent)
  return {
    // A child that has not called exec yet still looks like its parent.
    shims: victims('shim', (one) => runs(one, 'shim.py') && !runs(parentOf(one), 'shim.py')),
    generations: victims(
      'generation',
      (one) => runs(one, 'generate.py') && runs(parentOf(one), 'shim.py'),
    ),
    conversions: victims(
      'conversion',
      ({ args }) => args[0] === 'ffmpeg' && args.some((arg) => arg.includes('/.unfinished.')),
    ),
    // Forks of it that are nothing else yet look like it, but do not lead its session.
    templates: all.filter((one) => nameOf(one) === 'wan-template' && leadsSession(one)),
    standbys: all.filter((one) => nameOf(one) === 'wan-standby'),
  }
}

/** Whether it was forked from a template. It has the name of its shim until it has its own. */
export const isFork = (generation: Victim): boolean => nameOf(generation).startsWith('wan-')

export const isTemplate = ({ pid }: Pick<Identity, 'pid'>): boolean =>
  ['wan-template', 'wan-standby'].includes(nameOf({ pid }))

const nameOf = ({ pid }: Pick<Identity, 'pid'>): string => read(`/proc/${pid}/comm`).trim()

const leadsSession = ({ pid }: Identity): boolean => statOf(pid)?.session === pid

/** What starts the processes of a service, when it has got so far. */
export function forkServerOf(service: Identity): Identity | undefined {
  const pid = pids().find(
    (pid) =>
      statOf(pid)?.parent === service.pid &&
      argsOf(pid).some((arg) => basename(arg) === 'fork_server.py'),
  )
  return pid === undefined ? undefined : identify(pid)
}

/** Alive also when stopped; a zombie is dead. */
export function isAlive({ pid, started }: Identity): boolean {
  const now = statOf(pid)
  return now?.started === started && read(`/proc/${pid}/cmdline`) !== ''
}

export function identify(pid: number): Identity | undefined {
  const stat = statOf(pid)
  return stat && { pid, started: stat.started }
}

/** Whether it was there to be signalled. */
export function signal(victim: Identity, name: NodeJS.Signals): boolean {
  try {
    return isAlive(victim) && process.kill(victim.pid, name)
  } catch {
    return false
  }
}

/** Whether a conversion has opened the file that it is to make. */
export function writes({ pid }: Identity): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) =>
      readlinkSync(`/proc/${pid}/fd/${fd}`).includes('/.unfinished.'),
    )
  } catch {
    return false
  }
}

export function environmentOf(pid: number, name: string): string | undefined {
  const entries = read(`/proc/${pid}/environ`).split('\0')
  return entries.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1)
}

/** Everything that has ever been started for this data directory and is still there. */
export function everythingOf(dataDir: string): { pid: number; what: string }[] {
  return pids()
    .filter((pid) =>
      ['cmdline', 'environ'].some((file) => read(`/proc/${pid}/${file}`).includes(dataDir)),
    )
    .map((pid) => ({ pid, what: argsOf(pid).join(' ').slice(0, 120) }))
}

export function killEverythingOf(dataDir: string): void {
  for (const { pid } of everythingOf(dataDir)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has just ended by itself.
    }
  }
}

function processesNaming(text: string): Process[] {
  return pids().flatMap((pid) => {
    const args = argsOf(pid)
    if (!args.some((arg) => arg.includes(text))) return []
    const stat = statOf(pid)
    return stat ? [{ pid, args, ...stat }] : []
  })
}

function toVictim(role: Role, { pid, started, args }: Process): Victim[] {
  const found = /\/work\/([^/]+\/\d+)/.exec(args.join('\0'))
  return found?.[1] ? [{ pid, started, role, attempt: found[1] }] : []
}

const pids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)

const argsOf = (pid: number): string[] => read(`/proc/${pid}/cmdline`).split('\0').filter(Boolean)

function statOf(pid: number): { parent: number; session: number; started: string } | undefined {
  const stat = read(`/proc/${pid}/stat`)
  const [state, parent, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const started = fields[17]
  if (!started || state === 'Z' || state === 'X') return undefined
  return { parent: Number(parent), session: Number(fields[1]), started }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
