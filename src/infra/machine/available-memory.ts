/** How much memory a new process can have. */
import { readFileSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'

/** In bytes, of this host and of this process's cgroup. */
export type Memory = Readonly<{
  /** As Node tells it: in a cgroup with a limit, what is left of that. */
  available: number
  /** That of the cgroup; 0, or more than the host has, where there is none. */
  limit: number
  /** Free memory of the host, including what the kernel can take back. */
  hostFree: number
  hostTotal: number
  /** `memory.stat` of the cgroup; '' where it cannot be read. */
  cgroupStat: string
}>

/**
 * A cgroup counts the files in memory as used, though the kernel takes them back when others need room: after a
 * checkpoint of 34 GB has been read in a container, nothing would seem to be left.
 */
export function availableIn({ available, limit, hostFree, hostTotal, cgroupStat }: Memory): number {
  if (limit === 0 || limit >= hostTotal) return available
  return Math.min(hostFree, available + filesIn(cgroupStat))
}

/** Files in memory, by the names of either version of cgroups. */
function filesIn(stat: string): number {
  const found = new Map(stat.split('\n').map((line) => line.split(' ') as [string, string]))
  const of = (name: string) => Number(found.get(`total_${name}`) ?? found.get(name) ?? 0)
  return of('active_file') + of('inactive_file')
}

export const availableMemory = (): number =>
  availableIn({
    available: process.availableMemory(),
    limit: process.constrainedMemory(),
    hostFree: freemem(),
    hostTotal: totalmem(),
    cgroupStat: readCgroupStat(),
  })

/** Inside of a container its cgroup is the root of what can be seen, whatever its path is called. */
function readCgroupStat(): string {
  const own = readText('/proc/self/cgroup')
    .split('\n')
    .flatMap((line) => {
      const [, controllers, path = ''] = line.split(':')
      if (controllers === '') return [path]
      return controllers === 'memory' ? [`/memory${path}`] : []
    })
  for (const path of [...own, '', '/memory']) {
    const stat = readText(`/sys/fs/cgroup${path}/memory.stat`)
    if (stat) return stat
  }
  return ''
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
