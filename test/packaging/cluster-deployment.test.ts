/** The files of deploy/cluster/. No Docker and no Kubernetes reads them here. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { readConfig } from '../../src/config/config.ts'
import { root } from '../../src/config/root.ts'
import { settings } from '../../src/config/settings.ts'

type ComposeService = Readonly<{
  image: string
  build?: unknown
  entrypoint?: unknown
  command?: unknown
  environment: Readonly<Record<string, string>>
  ports?: readonly string[]
  volumes?: readonly Readonly<{ source: string; target: string }>[]
  deploy?: { resources: { reservations: { devices: { device_ids?: string[] }[] } } }
}> &
  Readonly<Record<string, unknown>>
type Compose = Readonly<{ services: Readonly<Record<string, ComposeService>> }>

type Variable = Readonly<{ name: string; value?: string; valueFrom?: object }>
type Probe = Readonly<{ httpGet: { path: string; port: string } }>
type Container = Readonly<{
  image: string
  command?: unknown
  args?: unknown
  env: readonly Variable[]
  ports: readonly Readonly<{ name: string; containerPort: number }>[]
  volumeMounts: readonly Readonly<{ name: string; mountPath: string }>[]
}> &
  Readonly<Record<'startupProbe' | 'livenessProbe' | 'readinessProbe', Probe>>

const text = (...path: string[]) => readFileSync(join(root, ...path), 'utf8')
const known = new Set(settings.map(({ name }) => name))
const compose: Compose = parse(text('deploy', 'cluster', 'compose.yaml'), { merge: true })
const alone: Compose = parse(text('compose.yaml'), { merge: true })
const nodes = Object.entries(compose.services).filter(([name]) => name.startsWith('node-'))
const supervisor = alone.services.supervisor as ComposeService

describe('deploy/cluster/compose.yaml', () => {
  it('runs two nodes as compose.yaml runs a service', () => {
    expect(nodes.map(([name]) => name)).toEqual(['node-a', 'node-b'])
    // Neither overrides the entry point of the image.
    const same = ['image', 'entrypoint', 'command', 'init', 'stop_grace_period', 'cap_drop']
    for (const [, node] of nodes) {
      for (const key of [...same, 'security_opt', 'read_only', 'tmpfs', 'logging', 'restart']) {
        expect(node[key], key).toEqual(supervisor[key])
      }
      expect(node.volumes?.map(({ target }) => target)).toEqual(['/data', '/models'])
    }
  })

  it('has settings alone that the service knows and accepts', () => {
    for (const [name, { environment }] of nodes) {
      for (const setting of Object.keys(environment)) expect(known).toContain(setting)
      const config = readConfig(filledIn(environment))
      expect(config.node).toMatchObject({ name, url: `http://${name}:8080` })
      expect(config.clients).toHaveLength(1)
    }
  })

  it('shares neither a port, a data directory nor a GPU between the nodes', () => {
    const [a, b] = nodes.map(([, { ports, volumes, deploy }]) => [
      ports?.[0],
      volumes?.[0]?.source,
      deploy?.resources.reservations.devices[0]?.device_ids?.[0],
    ])
    for (const [index, own] of (a ?? []).entries()) expect(own).not.toBe(b?.[index])
  })

  it('refuses to start without a password and tokens', () => {
    expect(compose.services.postgres?.environment.POSTGRES_PASSWORD).toMatch(/:\?/)
    for (const [, { environment }] of nodes) {
      expect(environment.API_TOKENS).toMatch(/:\?/)
      expect(environment.DATABASE_URL).toContain(':?')
    }
  })

  it('uses variables alone that .env.example explains', () => {
    const used = text('deploy', 'cluster', 'compose.yaml').matchAll(/\$\{(\w+)/g)
    const example = text('deploy', 'cluster', '.env.example')
    for (const [, name] of used) expect(example).toMatch(new RegExp(`^#?${name}=`, 'm'))
  })
})

describe('deploy/cluster/kubernetes.yaml', () => {
  const documents = parseAllDocuments(text('deploy', 'cluster', 'kubernetes.yaml')).map(
    (document) => {
      expect(document.errors).toEqual([])
      return document.toJS()
    },
  )
  const [, secret, daemonSet, service] = documents
  const pod = daemonSet.spec.template
  const container: Container = pod.spec.containers[0]

  it('has a namespace, a secret, a node on each machine, and one service in front', () => {
    const kinds = documents.map(({ kind }) => kind)
    expect(kinds).toEqual(['Namespace', 'Secret', 'DaemonSet', 'Service'])
    expect(service.spec.selector).toEqual(pod.metadata.labels)
    expect(daemonSet.spec.selector.matchLabels).toEqual(pod.metadata.labels)
    for (const { metadata } of documents.slice(1)) expect(metadata.namespace).toBe('wan-supervisor')
  })

  it('runs the image of compose.yaml with its entry point', () => {
    expect(container.image).toBe(supervisor.image)
    expect([container.command, container.args]).toEqual([undefined, undefined])
    const grace = pod.spec.terminationGracePeriodSeconds
    expect(`${grace}s`).toBe(supervisor.stop_grace_period)
    expect(container.volumeMounts.map(({ mountPath }) => mountPath)).toEqual([
      ...['/data', '/models', '/tmp'],
    ])
  })

  it('has settings alone that the service knows and accepts', () => {
    const fieldPaths: Record<string, string> = {}
    const environment: Record<string, string> = {}
    for (const { name, value, valueFrom } of container.env) {
      const { fieldRef, secretKeyRef } = (valueFrom ?? {}) as Record<string, { fieldPath?: string }>
      if (fieldRef?.fieldPath) fieldPaths[name] = fieldRef.fieldPath
      const given = fieldRef ? '10.0.0.7' : (value ?? (secretKeyRef && secret.stringData[name]))
      environment[name] = given.replace('$(POD_IP)', environment.POD_IP ?? 'not set yet')
    }
    expect(fieldPaths).toEqual({ NODE_NAME: 'spec.nodeName', POD_IP: 'status.podIP' })
    const { POD_IP, ...ours } = environment
    for (const setting of Object.keys(ours)) expect(known).toContain(setting)
    const { node, clients } = readConfig(ours)
    expect(node.url).toBe(`http://${POD_IP}:8080`)
    expect(clients).toHaveLength(1)
  })

  it('restarts a pod by /health, never by the state of the cluster', () => {
    const port = container.ports.find(({ name }) => name === 'http')?.containerPort
    expect(`${port}`).toBe(container.env.find(({ name }) => name === 'PORT')?.value)
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe'] as const) {
      expect(container[probe].httpGet).toEqual({ path: '/health', port: 'http' })
    }
  })
})

/** As Compose fills in variables that are required. */
const filledIn = (environment: Readonly<Record<string, string>>): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [
      name,
      value
        .replace(/\$\{POSTGRES_PASSWORD:\?[^}]*\}/, 'b0a1')
        .replace(/^\$\{API_TOKENS:.*$/, token),
    ]),
  )

const token = `ada:${'a1'.repeat(16)}`
