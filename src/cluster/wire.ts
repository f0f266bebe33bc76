/**
 * Messages as JSON. A value that JSON does not have becomes an object with the key `$`. The types of messages
 * that may be sent are those of `Sendable`.
 */
import type { ActorRef } from '../actors/actor-ref.ts'
import { deliver } from '../actors/actor-ref.ts'
import { RefusalError, type RefusalOptions } from '../domain/errors.ts'

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }

/** A reference as data: how the other side reaches the actor. */
export type EncodedRef = Readonly<{ node: string; session: number; id: number }>

type Tagged = Readonly<
  | { $: 'undefined' }
  | { $: 'number'; is: string }
  | { $: 'map'; of: readonly (readonly [Json, Json])[] }
  /** An object that has a key `$`. */
  | { $: 'object'; of: readonly (readonly [string, Json])[] }
  | { $: 'refusal'; code: string; detail: string; options: Json }
  | { $: 'ref'; to: EncodedRef }
>

export function encode(value: unknown, encodeRef: (ref: ActorRef<never>) => EncodedRef): Json {
  const tagged = (tag: Tagged): Json => tag as Json
  return toJson(value)

  function toJson(value: unknown): Json {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return value
      case 'number':
        return isExact(value) ? value : tagged({ $: 'number', is: nameOf(value) })
      case 'undefined':
        return tagged({ $: 'undefined' })
      case 'object':
        return value === null ? null : fromObject(value)
      default:
        throw new TypeError(`a ${typeof value} cannot be sent to another node`)
    }
  }

  function fromObject(value: object): Json {
    if (Array.isArray(value)) return Array.from(value, toJson)
    if (deliver in value) return tagged({ $: 'ref', to: encodeRef(value as ActorRef<never>) })
    if (value instanceof Map) {
      return tagged({ $: 'map', of: Array.from(value, ([key, of]) => [toJson(key), toJson(of)]) })
    }
    if (value instanceof RefusalError) {
      const { code, message, field, quota, awaits, etaSeconds, expiredAt } = value
      const options = toJson({ field, quota, awaits, etaSeconds, expiredAt })
      return tagged({ $: 'refusal', code, detail: message, options })
    }
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) {
      throw new TypeError(`a ${value.constructor.name} cannot be sent to another node`)
    }
    const entries = Object.entries(value).map(([key, of]) => [key, toJson(of)] as const)
    return Object.hasOwn(value, '$')
      ? tagged({ $: 'object', of: entries })
      : Object.fromEntries(entries)
  }
}

/** Throws for a value of a version that knows more kinds of values. */
export function decode(json: Json, decodeRef: (ref: EncodedRef) => ActorRef<never>): unknown {
  return fromJson(json)

  function fromJson(json: Json): unknown {
    if (typeof json !== 'object' || json === null) return json
    if (Array.isArray(json)) return json.map(fromJson)
    if (Object.hasOwn(json, '$')) return fromTagged(json as Tagged)
    return fromEntries(Object.entries(json))
  }

  function fromTagged(tagged: Tagged): unknown {
    switch (tagged.$) {
      case 'undefined':
        return undefined
      case 'number':
        return tagged.is === '-0' ? -0 : Number(tagged.is)
      case 'map':
        return new Map(tagged.of.map(([key, of]) => [fromJson(key), fromJson(of)]))
      case 'object':
        return fromEntries(tagged.of)
      case 'refusal':
        return new RefusalError(
          tagged.code as RefusalError['code'],
          tagged.detail,
          fromJson(tagged.options) as RefusalOptions,
        )
      case 'ref':
        return decodeRef(tagged.to)
      default:
        throw new TypeError(`unknown kind of value: ${JSON.stringify(tagged)}`)
    }
  }

  function fromEntries(entries: readonly (readonly [string, Json])[]): object {
    return Object.fromEntries(entries.map(([key, of]) => [key, fromJson(of)]))
  }
}

/** JSON has neither -0 nor NaN nor infinity. */
const isExact = (value: number): boolean => Number.isFinite(value) && !Object.is(value, -0)

const nameOf = (value: number): string => (Object.is(value, -0) ? '-0' : String(value))
