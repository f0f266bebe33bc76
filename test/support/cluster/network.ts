/**
 * Machines with addresses of their own: network namespaces on one bridge. Needs root and `ip`.
 *
 * A namespace exists as long as a process in it. So everything ends with the processes of a test, also when the
 * test is killed.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

export type Machine = Readonly<{
  address: string
  /** Starts a program on this machine: goes before the program and its arguments. */
  within: readonly string[]
}>

export type Network = Awaited<ReturnType<typeof createNetwork>>

/** Reason to skip tests that need namespaces; undefined: they can be created. */
export const networkMissing: string | undefined = (() => {
  try {
    execFileSync('unshare', ['--net', 'ip', 'link', 'add', 'bridge', 'type', 'bridge'], {
      stdio: 'pipe',
    })
    return undefined
  } catch {
    return 'network namespaces need root, `unshare` and `ip`'
  }
})()

/** Belongs to the range for tests of networks (RFC 2544). Each test process has a subnet. */
const subnet = `198.18.${process.pid % 256}`

/** Nobody has this one. */
const deadMac = '02:00:00:00:00:01'

/** `count` machines, and this one, which has `address`. */
export async function createNetwork(count: number) {
  const hub = await aNamespace()
  on(hub, 'link', 'add', 'bridge', 'type', 'bridge')
  on(hub, 'link', 'set', 'bridge', 'up')
  const outside = `wan${process.pid}`
  on(
    hub,
    'link',
    'add',
    'outside',
    'type',
    'veth',
    'peer',
    'name',
    outside,
    'netns',
    `${process.pid}`,
  )
  plug('outside')
  const address = `${subnet}.1`
  ip('addr', 'add', `${address}/24`, 'dev', outside)
  ip('link', 'set', outside, 'up')

  const namespaces: Namespace[] = [hub]
  const members = new Map<Machine, { namespace: Namespace; port: string }>()
  for (let n = 1; n <= count; n++) {
    const namespace = await aNamespace()
    namespaces.push(namespace)
    const port = `port${n}`
    on(
      hub,
      'link',
      'add',
      port,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      `${namespace.pid}`,
    )
    plug(port)
    const own = `${subnet}.${10 + n}`
    on(namespace, 'link', 'set', 'lo', 'up')
    on(namespace, 'addr', 'add', `${own}/24`, 'dev', 'eth0')
    on(namespace, 'link', 'set', 'eth0', 'up')
    members.set({ address: own, within: enter(namespace) }, { namespace, port })
  }

  return {
    address,
    /** All addresses of it. */
    subnet: `${subnet}.0/24`,
    machines: [...members.keys()] as readonly Machine[],
    /** The link of this machine is dead. Its connections stay open and carry nothing. */
    unplug: (machine: Machine) => on(hub, 'link', 'set', memberOf(machine).port, 'down'),
    plugIn: (machine: Machine) => on(hub, 'link', 'set', memberOf(machine).port, 'up'),
    /** Packets between these two are lost, in both directions. */
    separate(one: Machine, other: Machine): void {
      for (const [from, to] of bothWays(one, other)) {
        on(
          memberOf(from).namespace,
          ...['neigh', 'replace', to.address, 'lladdr', deadMac],
          ...['dev', 'eth0', 'nud', 'permanent'],
        )
      }
    },
    join(one: Machine, other: Machine): void {
      for (const [from, to] of bothWays(one, other)) {
        on(memberOf(from).namespace, 'neigh', 'del', to.address, 'dev', 'eth0')
      }
    },
    close(): void {
      for (const { holder } of namespaces) holder.kill('SIGKILL')
    },
  }

  /** Connects an end of a cable with the bridge. */
  function plug(port: string): void {
    on(hub, 'link', 'set', port, 'master', 'bridge', 'up')
  }

  function memberOf(machine: Machine) {
    const member = members.get(machine)
    if (!member) throw new Error(`${machine.address} is not in this network`)
    return member
  }
}

type Namespace = Readonly<{ pid: number; holder: ChildProcess }>

/** Ends with this process, whose pipe it reads. */
async function aNamespace(): Promise<Namespace> {
  const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'ignore', 'inherit'] })
  const pid = holder.pid ?? 0
  const own = readlinkSync('/proc/self/ns/net')
  for (let patience = 500; readlinkSync(`/proc/${pid}/ns/net`) === own; patience--) {
    if (patience === 0) throw new Error('no network namespace was created')
    await delay(10)
  }
  return { pid, holder }
}

const enter = ({ pid }: Namespace): readonly string[] => ['nsenter', '--net', '--target', `${pid}`]

const bothWays = (one: Machine, other: Machine) =>
  [
    [one, other],
    [other, one],
  ] as const

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' })

function on(namespace: Namespace, ...args: string[]): void {
  const [program = '', ...before] = enter(namespace)
  execFileSync(program, [...before, 'ip', ...args], { stdio: 'pipe' })
}
