/** Machines that share the queue: nothing where there is one. */
import { signal } from '@preact/signals'
import { useState } from 'preact/hooks'
import type { Node } from '../http/typed-client.ts'
import { answerTo, api, faultOf } from './api.ts'
import { hasNodes } from './contact.ts'
import { notify } from './notices.ts'
import { ActionButton, Badge, Dialog, ErrorNote, Section, Skeleton, type Tone } from './parts.tsx'
import { gpuRefresher, gpus, isAdmin, nodeRefresher, nodes } from './state.ts'
import { plural } from './words.ts'

type Command = 'drain' | 'resume'

/** Command that waits for its confirmation. */
const asked = signal<{ node: Node; command: Command } | undefined>(undefined)

export function NodeList() {
  const all = nodes.value
  if (!isAdmin.value || !hasNodes.value) return null
  return (
    <Section title="Nodes" aside={all && <span class="muted">{summary(all)}</span>}>
      {all ? (
        <ul class="rows">
          {all.map((node) => (
            <NodeRow key={node.name} node={node} />
          ))}
        </ul>
      ) : (
        <Skeleton rows={2} kind="row" />
      )}
      {asked.value && <Confirm {...asked.value} />}
    </Section>
  )
}

function summary(all: readonly Node[]): string {
  const present = all.filter(({ state }) => state === 'present').length
  return `${present} of ${all.length} present`
}

const NodeRow = ({ node }: { node: Node }) => (
  <li class="row">
    <div class="row-main">
      <p>
        <strong class="break">{node.name}</strong>
        {node.role === 'leader' && <span class="muted"> · leads</span>}
      </p>
      <p class="small muted break">{workOf(node)}</p>
      {node.hold && <p class="small break">{node.hold.detail}</p>}
    </div>
    <div class="row-side">
      <Badge tone={toneOf(node)}>{stateOf(node)}</Badge>
    </div>
    <CommandButton node={node} command={node.drained ? 'resume' : 'drain'} />
  </li>
)

function workOf({ name, gpus: ids, version }: Node): string {
  const busy = gpus.value?.filter(({ node, job_id }) => node === name && job_id !== null).length
  const devices = ids.length === 0 ? 'no GPUs' : plural(ids.length, 'GPU')
  return `${devices}${busy ? `, ${busy} busy` : ''} · version ${version}`
}

function stateOf({ state, drained, hold }: Node): string {
  if (state !== 'present') return stateInWords[state]
  if (drained) return 'Drained'
  return hold ? holdInWords[hold.reason] : 'Present'
}

const stateInWords = { left: 'Stopped', lost: 'Lost' } as const

const holdInWords: Readonly<Record<NonNullable<Node['hold']>['reason'], string>> = {
  disk: 'Disk full',
  environment: 'Paused',
}

function toneOf({ state, drained, hold }: Node): Tone {
  if (state === 'lost') return 'bad'
  return state === 'left' || drained || hold ? 'warn' : 'good'
}

const commandInWords: Readonly<Record<Command, string>> = { drain: 'Drain', resume: 'Resume' }

const CommandButton = ({ node, command }: { node: Node; command: Command }) => (
  <ActionButton
    class="button small"
    onClick={() => {
      asked.value = { node, command }
    }}
  >
    {commandInWords[command]}
    <span class="hidden"> node {node.name}</span>
  </ActionButton>
)

function Confirm({ node: { name }, command }: { node: Node; command: Command }) {
  const [fault, setFault] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const close = () => {
    asked.value = undefined
  }

  async function carryOut(): Promise<void> {
    setBusy(true)
    setFault(undefined)
    const param = { name }
    try {
      await (command === 'drain'
        ? answerTo(api.nodes[':name'].drain.$post({ param }))
        : answerTo(api.nodes[':name'].resume.$post({ param })))
      close()
      notify({ tone: 'good', text: `Node ${name}: ${done[command]}` })
      await Promise.all([nodeRefresher.now(), gpuRefresher.now()])
    } catch (error) {
      setFault(faultOf(error).text)
      setBusy(false)
    }
  }

  return (
    <Dialog title={`${commandInWords[command]} node ${name}?`} onClose={close}>
      <p>{meaning[command]}</p>
      {fault !== undefined && <ErrorNote>{fault}</ErrorNote>}
      <footer class="dialog-foot">
        <button type="button" class="button" onClick={close}>
          Leave it
        </button>
        <ActionButton class="button primary" disabled={isBusy} onClick={() => void carryOut()}>
          {commandInWords[command]}
        </ActionButton>
      </footer>
    </Dialog>
  )
}

const meaning: Readonly<Record<Command, string>> = {
  drain:
    'Its GPUs finish their jobs and take no new ones, also after a restart. So do GPUs added later.',
  resume: 'Its GPUs take jobs again, drained or in quarantine, and GPUs added later do.',
}

const done: Readonly<Record<Command, string>> = {
  drain: 'takes no new jobs',
  resume: 'takes jobs again',
}
