/** Runs an image as Docker would, as far as the kernel can be told so without it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, readFileSync } from 'node:fs'
import { $ } from 'zx'
import type { Image } from './build.ts'

export type Container = Awaited<ReturnType<typeof start>>

export type Run = Readonly<{
  /** On this machine, and whether it is read-only, by where it is in the container. */
  volumes: Readonly<Record<string, Readonly<{ source: string; readOnly: boolean }>>>
  /** Options of each tmpfs, by where it is. */
  tmpfs: Readonly<Record<string, string>>
  env: Readonly<Record<string, string>>
  log: string
}>

/** What Docker adds to the options of every tmpfs. */
const dockersTmpfs = 'noexec,nosuid,nodev'

const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty']

/** Namespaces of its own, a read-only root, and the user of the image without a single privilege. */
export async function start(image: Image, { volumes, tmpfs, env, log }: Run) {
  const { root, workdir, user } = image
  const [uid = '', gid = ''] = user.split(':')
  const set = Object.entries({ ...image.env, ...env }).map((pair) => pair.join('='))
  const bare = `--reuid=${uid} --regid=${gid} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all`
  const setpriv = ['setpriv', ...bare.split(' '), 'env', '-i', ...set]

  const script = [
    'ip link set lo up',
    `cd '${root}'`,
    'mount --bind . .',
    `cd '${root}'`,
    'mount -t proc proc proc && mount -t sysfs -o ro sysfs sys',
    'mount -t tmpfs -o mode=755,nosuid tmpfs dev',
    ...devices.map((name) => `touch dev/${name} && mount --bind /dev/${name} dev/${name}`),
    'ln -s /proc/self/fd dev/fd && mkdir dev/shm',
    `mount -t tmpfs -o size=64m,mode=1777,${dockersTmpfs} tmpfs dev/shm`,
    ...Object.entries(tmpfs).map(
      ([target, options]) => `mount -t tmpfs -o ${options},${dockersTmpfs} tmpfs .${target}`,
    ),
    ...Object.entries(volumes).flatMap(([target, { source, readOnly }]) => [
      `mount --bind '${source}' .${target}`,
      ...(readOnly ? [`mount -o remount,bind,ro .${target}`] : []),
    ]),
    'mount -o remount,bind,ro .',
    `exec chroot . sh -c 'cd ${workdir} && exec "$@"' sh "$@"`,
  ].join('\n')

  const namespaces = '--mount --pid --net --ipc --uts --cgroup --fork --kill-child'.split(' ')
  const command = [...setpriv, ...image.entrypoint, ...image.command]
  const child = spawn('unshare', [...namespaces, 'sh', '-ec', script, 'sh', ...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const written = createWriteStream(log, { flags: 'a' })
  child.stdout.pipe(written, { end: false })
  child.stderr.pipe(written, { end: false })
  const ended = once(child, 'close').then(([code]) => code as number)
  await once(child, 'spawn')

  /** On this machine; the first of the container. */
  const first = () => Number(childrenOf(child.pid as number)[0])

  return {
    ended,
    first,
    /** As `docker exec` does. */
    exec(...words: readonly string[]) {
      const enter = `--target ${first()} --mount --pid --net --ipc --uts --root --wdns=${workdir}`
      return $`nsenter ${enter.split(' ')} ${setpriv} ${words}`.nothrow().quiet()
    },
    /** From outside the container's files and users, but in its network. */
    curl: (path: string, ...options: readonly string[]) =>
      $`nsenter --target ${first()} --net curl --silent --show-error --fail-with-body ${options} http://127.0.0.1:8080${path}`
        .nothrow()
        .quiet(),
    /** Of the service itself, below the first process. */
    service: () => Number(childrenOf(first())[0]),
    kill(signal: NodeJS.Signals): void {
      if (child.exitCode === null) process.kill(first(), signal)
    },
  }
}

const childrenOf = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
