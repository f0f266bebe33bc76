/** What this machine lends to a build without Docker: systems to begin with, and ways to packages. */
import { appendFileSync, copyFileSync, existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { $ } from 'zx'
import type { Build } from './build.ts'

/** What stands in for the images that the Dockerfile begins with. */
const systems = [
  {
    image: /^node:.*-bookworm/,
    suite: 'bookworm',
    components: ['main'],
    updates: [],
    mirror: process.env.DEBIAN_MIRROR ?? 'http://deb.debian.org/debian',
    keyring: '/usr/share/keyrings/debian-archive-keyring.gpg',
  },
  {
    image: /^nvidia\/cuda:.*-ubuntu22\.04$/,
    suite: 'jammy',
    components: ['main', 'universe'],
    updates: ['jammy-updates', 'jammy-security'],
    mirror: process.env.UBUNTU_MIRROR ?? 'http://archive.ubuntu.com/ubuntu',
    keyring: process.env.UBUNTU_KEYRING ?? '/usr/share/keyrings/ubuntu-archive-keyring.gpg',
  },
]

/** Named in full, before anything has begun. */
export async function assertUsable(): Promise<void> {
  const tools = 'debootstrap unshare nsenter ip curl git npm'.split(' ')
  const found = await Promise.all(tools.map(async (tool) => (await $`which ${tool}`.nothrow()).ok))
  const keyrings = systems.map(({ keyring }) => keyring).filter((path) => !existsSync(path))
  const faults = [
    ...(process.getuid?.() === 0 ? [] : ['this needs root: it mounts and makes devices']),
    ...tools.filter((_, index) => !found[index]).map((tool) => `${tool} is not installed`),
    ...keyrings.map((path) => `${path} is not there (see docs/docker.md)`),
  ]
  if (faults.length === 0) return
  console.error(`Cannot verify the image here:\n  ${faults.join('\n  ')}`)
  process.exit(1)
}

/** Makes these systems, each once for a directory. Node's has this machine's Node and npm. */
export function systemsIn(directory: string): Build['base'] {
  return async (image, root) => {
    const system = systems.find((each) => each.image.test(image))
    if (!system) throw new Error(`Nothing stands in for ${image}.`)
    const { suite, components, updates, mirror, keyring } = system
    const kept = join(directory, suite)
    if (!existsSync(kept)) {
      console.log(`  (${suite} from ${mirror})`)
      const making = `${kept}.new`
      await $`rm -rf ${making}`
      await $`debootstrap --variant=minbase --components=${components.join()} --keyring=${keyring} ${suite} ${making} ${mirror}`.quiet()
      const sources = updates.map((name) => `deb ${mirror} ${name} ${components.join(' ')}\n`)
      appendFileSync(join(making, 'etc/apt/sources.list'), sources.join(''))
      await $`mv ${making} ${kept}`
    }
    await $`cp -a ${kept}/. ${root}`
    if (suite === 'bookworm') await addNode(root)
  }
}

async function addNode(root: string): Promise<void> {
  const npm = join(realpathSync((await $`which npm`).stdout.trim()), '..', '..')
  await $`mkdir -p ${root}/usr/local/lib/node_modules`
  copyFileSync(process.execPath, join(root, 'usr/local/bin/node'))
  await $`cp -a ${npm} ${root}/usr/local/lib/node_modules/npm`
  await $`ln -s ../lib/node_modules/npm/bin/npm-cli.js ${root}/usr/local/bin/npm`
}

/** Of apt and npm, so that each RUN has them and none of its results. */
export async function packageSettings(): Promise<Build['host']> {
  const of = async (key: string) => (await $`npm config get ${key}`).stdout.trim()
  const authorities = [await of('cafile'), process.env.NODE_EXTRA_CA_CERTS ?? '']
  const authority = authorities.find((path) => existsSync(path))
  const names = ['http_proxy', 'https_proxy', 'no_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']
  const proxies = names.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value]]
  })
  return {
    prepare: [
      `apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::Proxy|http::Timeout)' >"$1/mnt/apt.conf" || true`,
      ...(authority ? [`cp '${authority}' "$1/mnt/authority.pem"`] : []),
    ].join('\n'),
    env: {
      ...Object.fromEntries(proxies),
      APT_CONFIG: '/mnt/apt.conf',
      NPM_CONFIG_UPDATE_NOTIFIER: 'false',
      NPM_CONFIG_REGISTRY: await of('registry'),
      ...(authority && { NODE_EXTRA_CA_CERTS: '/mnt/authority.pem' }),
    },
  }
}
