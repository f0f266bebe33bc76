import { type ActorRef, spawn, startActorSystem } from '../../src/actors/actor.ts'

export type Probe<Message> = Readonly<{
  ref: ActorRef<Message>
  /** What it was told and nobody has awaited yet, oldest first. */
  told: readonly Message[]
  /** Takes the oldest of these, or waits for it. */
  next(): Promise<Message>
}>

/** An actor that keeps what it is told, so that a test can await it. */
export function createProbe<Message>(name = 'probe'): Probe<Message> {
  const told: Message[] = []
  const waiting: Array<(message: Message) => void> = []
  const { ref } = spawn<null, Message>(
    startActorSystem(),
    name,
    {
      init: () => null,
      receive(state, message) {
        const waiter = waiting.shift()
        if (waiter) waiter(message)
        else told.push(message)
        return state
      },
    },
    () => {},
  )
  const next = () =>
    new Promise<Message>((resolve) => {
      if (told.length > 0) resolve(told.shift() as Message)
      else waiting.push(resolve)
    })
  return { ref, told, next }
}
