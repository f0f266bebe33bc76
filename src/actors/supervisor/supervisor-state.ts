/** The state of a supervisor: how it begins, is looked at and changed. The rules are in the files beside. */
import type {
  ChildCounts,
  ChildRecord,
  ChildSpec,
  ChildState,
  Strategy,
  SupervisorEffect,
  SupervisorState,
} from './supervisor-protocol.ts'

export type SupervisorStep = readonly [SupervisorState, readonly SupervisorEffect[]]

/** At rest: nobody has been started yet. Throws when the specs contradict themselves. */
export function initialSupervisorState(
  specs: readonly ChildSpec[],
  strategy: Strategy = 'one_for_one',
): SupervisorState {
  for (const [index, { id, restart, significant }] of specs.entries()) {
    if (specs.findIndex((other) => other.id === id) !== index) {
      throw new Error(`two children are called ${id}`)
    }
    if (significant && restart === 'temporary') {
      throw new Error(`${id} is temporary, so never given up, and cannot be significant`)
    }
  }
  return {
    strategy,
    children: specs.map((spec) => ({
      spec,
      incarnation: 0,
      restartedAt: [],
      waits: 0,
      phase: 'terminated',
    })),
  }
}

export const countChildren = ({ children }: SupervisorState): ChildCounts => ({
  specs: children.length,
  active: children.filter(isActive).length,
  supervisors: 0,
  workers: children.length,
})

export const findChild = (state: SupervisorState, id: string): ChildState | undefined =>
  state.children.find(({ spec }) => spec.id === id)

export const isActive = ({ phase }: ChildState): boolean =>
  phase === 'starting' || phase === 'running' || phase === 'stopping'

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
