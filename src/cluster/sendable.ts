/** Types of messages that arrive at another node exactly as they were sent. */
import type { ActorRef } from '../actors/actor-ref.ts'
import type { RefusalError } from '../domain/errors.ts'

type Plain = string | number | boolean | null | undefined

/** The parts of a type that cannot travel; `never` if all can. */
export type Unsendable<T> = unknown extends T
  ? T
  : T extends Plain | RefusalError
    ? never
    : T extends ActorRef<infer Message>
      ? Unsendable<Message>
      : T extends ReadonlyMap<infer Key, infer Value>
        ? Unsendable<Key> | Unsendable<Value>
        : T extends readonly (infer Item)[]
          ? Unsendable<Item>
          : T extends Opaque
            ? T
            : T extends object
              ? { [Key in keyof T]-?: Unsendable<T[Key]> }[keyof T]
              : T

type Opaque =
  | ((...args: never) => unknown)
  | Error
  | Date
  | ReadonlySet<unknown>
  | Promise<unknown>
  | Uint8Array

/** The type itself if all of it can travel. */
export type Sendable<T> = [Unsendable<T>] extends [never] ? T : never
