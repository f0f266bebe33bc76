/** The state of a supervisor, and the steps that several rules share. The rules are in the files beside. */
import type { Step } from '../actor.ts'
import type {
  ChildRecord,
  ChildSpec,
  ChildState,
  SupervisorEffect,
  SupervisorState,
} from './supervisor-protocol.ts'

export type SupervisorStep = Step<SupervisorState, SupervisorEffect>

/** The start of a supervisor: all children, in their order. Throws when two have the same id. */
export function startAll(specs: readonly ChildSpec[]): SupervisorStep {
  for (const [index, { id }] of specs.entries()) {
    if (specs.findIndex((other) => other.id === id) !== index) {
      throw new Error(`two children are called ${id}`)
    }
  }
  const children = specs.map(
    (spec) => ({ spec, incarnation: 1, restartedAt: [], waits: 0, phase: 'starting' }) as const,
  )
  return [
    { children },
    children.map(({ spec, incarnation }) => ({ do: 'start', id: spec.id, incarnation })),
  ]
}

/** Starts the next incarnation of a child. */
export function startAgain(state: SupervisorState, child: ChildState): SupervisorStep {
  const { id } = child.spec
  const incarnation = child.incarnation + 1
  return [
    withChild(state, { ...recordOf(child), incarnation, phase: 'starting' }),
    [{ do: 'start', id, incarnation }],
  ]
}

/** Asks a child to stop. It is killed when it takes too long. */
export function stop(state: SupervisorState, child: ChildState): SupervisorStep {
  const { spec, incarnation } = child
  const { id, shutdownMs } = spec
  return [
    withChild(state, { ...recordOf(child), phase: 'stopping' }),
    [
      { do: 'stop', id, incarnation },
      { do: 'expectEnd', id, incarnation, withinMs: shutdownMs },
    ],
  ]
}

/** Restarts that still count against a child. */
export const recentRestarts = (
  { spec, restartedAt }: ChildRecord,
  now: number,
): readonly number[] => restartedAt.filter((at) => now - at <= spec.periodMs)

export const findChild = (state: SupervisorState, id: string): ChildState | undefined =>
  state.children.find(({ spec }) => spec.id === id)

/** What is known of a child in whichever phase. */
export const recordOf = ({ spec, incarnation, restartedAt, waits }: ChildState): ChildRecord => ({
  spec,
  incarnation,
  restartedAt,
  waits,
})

export const withChild = (state: SupervisorState, changed: ChildState): SupervisorState => ({
  ...state,
  children: state.children.map((child) => (child.spec.id === changed.spec.id ? changed : child)),
})
