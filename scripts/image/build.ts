/** Carries out a Dockerfile without Docker: each stage by chroot, in a directory of its own. */
import { cpSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join, matchesGlob, relative, resolve } from 'node:path'
import {
  type Copy,
  DockerfileParser,
  type Env,
  type From,
  type Instruction,
  ModifiableInstruction,
  type Run,
} from 'dockerfile-ast'
import { $ } from 'zx'

/** What Docker would know of a stage, beside its files. */
export type Image = Readonly<{
  root: string
  env: Readonly<Record<string, string>>
  workdir: string
  user: string
  entrypoint: readonly string[]
  command: readonly string[]
  health: readonly string[]
}>

export type Build = Readonly<{
  /** Holds the Dockerfile, the .dockerignore, and what they speak of. */
  source: string
  /** Where the stages go, and what their cache mounts keep. */
  directory: string
  /** Makes what stands in for an image that is not built here, in that directory. */
  base(image: string, root: string): Promise<void>
  /** Whether a command of a RUN has to be left out. */
  isLeftOut(command: string): boolean
  /** The shell's preparation of each RUN and its environment: how packages are had here. */
  host: Readonly<{ prepare: string; env: Readonly<Record<string, string>> }>
}>

const ofDocker = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }

/** Without effect on the files, or on how the image is run here. */
const notes = ['ARG', 'VOLUME', 'EXPOSE', 'STOPSIGNAL', 'LABEL']

/** Builds every stage in the order of the file, and gives the last. */
export async function build(options: Build): Promise<Image> {
  const { source, directory } = options
  const context = join(directory, 'context')
  await $`rm -rf ${context}`
  copyContext(source, context)
  // The strictest umask that a checkout may have been made with.
  await $`chmod -R go= ${context}`

  const stages = new Map<string, Image>()
  let name = ''
  for (const step of stepsOf(join(source, 'Dockerfile'))) {
    const flags = step instanceof ModifiableInstruction ? step.getFlags() : []
    console.log(`  ${short([step.getKeyword(), ...flags, step.getArgumentsContent()].join(' '))}`)
    if (step.getKeyword() === 'FROM') {
      const from = step as From
      name = from.getBuildStage() ?? ''
      stages.set(name, await begin(valuesOf(from)[0] ?? '', join(directory, name)))
    } else {
      stages.set(name, await carryOut(step, stages.get(name) as Image))
    }
  }
  return stages.get(name) as Image

  async function begin(image: string, root: string): Promise<Image> {
    await $`rm -rf ${root}`
    const parent = stages.get(image)
    if (parent) {
      await $`cp -a ${parent.root} ${root}`
      return { ...parent, root }
    }
    mkdirSync(root)
    if (image !== 'scratch') await options.base(image, root)
    const env = ofDocker
    return { root, env, workdir: '/', user: '0:0', entrypoint: [], command: [], health: [] }
  }

  async function carryOut(step: Instruction, image: Image): Promise<Image> {
    const content = step.getArgumentsContent() ?? ''
    switch (step.getKeyword()) {
      case 'RUN':
        await run(step as Run, image)
        return image
      case 'COPY':
        await copy(step as Copy, image)
        return image
      case 'ADD':
        await add(step, image)
        return image
      case 'ENV':
        return { ...image, env: { ...image.env, ...variablesOf(step as Env, image.env) } }
      case 'WORKDIR': {
        const workdir = resolve(image.workdir, content)
        mkdirSync(join(image.root, workdir), { recursive: true })
        return { ...image, workdir }
      }
      case 'USER':
        return { ...image, user: content }
      case 'ENTRYPOINT':
        return { ...image, entrypoint: wordsOf(step) }
      case 'CMD':
        return { ...image, command: wordsOf(step) }
      case 'HEALTHCHECK':
        return { ...image, health: wordsOf(step) }
      default:
        if (notes.includes(step.getKeyword())) return image
        throw new Error(`Nothing here carries out ${step.getKeyword()}.`)
    }
  }

  async function run(step: Run, { root, env, workdir }: Image): Promise<void> {
    const commands = (step.getArgumentsContent() ?? '').split(/\s+&&\s+/)
    const kept = commands.filter((command) => !options.isLeftOut(command))
    for (const command of commands)
      if (!kept.includes(command)) console.log(`    left out: ${short(command)}`)
    if (kept.length === 0) return
    const caches = step
      .getFlags()
      .filter((flag) => flag.getName() === 'mount')
      .map((flag) => /^type=cache,target=(.+)$/.exec(flag.getValue() ?? '')?.[1] as string)
    const mounts = caches.map((target) => {
      const kept = join(directory, 'cache', target)
      for (const path of [kept, join(root, target)]) mkdirSync(path, { recursive: true })
      return `mount --bind '${kept}' '${join(root, target)}'`
    })
    const set = Object.entries({ ...env, ...options.host.env }).map((pair) => pair.join('='))
    const script = [
      'mount -t proc proc "$1/proc"',
      'mount -t devpts devpts "$1/dev/pts"',
      'mount -t tmpfs tmpfs "$1/mnt"',
      options.host.prepare,
      ...mounts,
      'root=$1; shift',
      'exec chroot "$root" env -i "$@"',
    ].join('\n')
    // -u, which Docker does not say: what comes from an ARG is not there, and must not pass as empty.
    const inside = ['/bin/sh', '-uc', `cd ${workdir} && ${kept.join(' && ')}`]
    await $`unshare --mount --pid --fork --kill-child sh -ec ${script} sh ${root} ${set} ${inside}`
  }

  /** Of a git repository at one commit, which is the only thing that is added so. */
  async function add(step: Instruction, { root }: Image): Promise<void> {
    const [from = '', target = ''] = valuesOf(step)
    const [address = '', commit = ''] = from.split('#')
    const git = ['git', '--git-dir', join(directory, 'cache', 'git')]
    await $`${git} init --quiet --bare`
    await $`${git} fetch --quiet --depth=1 ${address} ${commit}`
    await $`${git} archive ${commit} | tar -x -C ${join(root, target)}`
  }

  async function copy(step: Copy, { root, workdir }: Image): Promise<void> {
    const [from, ...others] = step.getFlags()
    if (others.length > 0 || (from && from.getName() !== 'from'))
      throw new Error(`Nothing here heeds ${step.getFlags().join(' ')}.`)
    const base = from ? (stages.get(from.getValue() ?? '') as Image).root : context
    const paths = valuesOf(step)
    const target = paths.pop() ?? ''
    const to = join(root, resolve(workdir, target))
    for (const path of paths) {
      // Of a directory what is in it goes, and not the directory.
      const isInto = target.endsWith('/') && !statSync(join(base, path)).isDirectory()
      const own = isInto ? join(to, basename(path)) : to
      mkdirSync(dirname(own), { recursive: true })
      await $`cp -a --no-preserve=ownership --no-target-directory ${join(base, path)} ${own}`
    }
  }
}

/** The instructions of a Dockerfile, with its variables in their places. */
export const stepsOf = (path: string): readonly Instruction[] =>
  DockerfileParser.parse(readFileSync(path, 'utf8')).getInstructions()

/** What Docker would be sent: all that the .dockerignore leaves in. */
export function copyContext(source: string, target: string): void {
  const rules = readFileSync(join(source, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  // The last rule that fits a path, or a directory above it, decides.
  const isOut = (path: string) => {
    const fitting = rules.findLast((rule) => fits(path, rule.replace(/^!/, '')))
    return fitting !== undefined && !fitting.startsWith('!')
  }
  cpSync(source, target, {
    recursive: true,
    filter: (path) => path === source || !isOut(relative(source, path)),
  })
}

export const valuesOf = (step: Instruction): string[] =>
  step.getExpandedArguments().map((argument) => argument.getValue())

const short = (text: string): string => text.replace(/\s+/g, ' ').slice(0, 100)

const fits = (path: string, pattern: string): boolean =>
  path !== '.' && (matchesGlob(path, pattern) || fits(join(path, '..'), pattern))

const wordsOf = (step: Instruction): string[] =>
  JSON.parse((step.getArgumentsContent() ?? '').replace(/^CMD /, '')) as string[]

const variablesOf = (step: Env, known: Image['env']): Record<string, string> =>
  Object.fromEntries(
    step
      .getProperties()
      .map((pair) => [
        pair.getName(),
        (pair.getValue() ?? '').replace(/\$(\w+)/g, (_, name: string) => known[name] ?? ''),
      ]),
  )
