/** A list of the service, one page of it at a time: however long it is, the page stays small. */
import { type Signal, signal } from '@preact/signals'

export type Page<Item> = Readonly<{ items: readonly Item[]; nextAfter: string | null }>

export type Pages<Item> = Readonly<{
  page: Signal<Page<Item> | undefined>
  /** Counts from 1. */
  number: Signal<number>
  size: number
  refresh(): Promise<void>
  next(): Promise<void>
  previous(): Promise<void>
  forget(): void
}>

type Query = { limit: string; after?: string }

export function createPages<Item>(
  size: number,
  read: (query: Query) => Promise<Page<Item>>,
): Pages<Item> {
  const page = signal<Page<Item> | undefined>(undefined)
  const number = signal(1)
  /** Behind what each page but the first begins. */
  let trail: readonly string[] = []

  let latest = 0

  /** The latest to be asked for is the one to be shown, whichever comes first. */
  async function show(wanted: readonly string[]): Promise<void> {
    trail = wanted
    const mine = ++latest
    const after = wanted.at(-1)
    const found = await read({ limit: String(size), ...(after !== undefined && { after }) })
    if (mine !== latest) return
    // What was on the last page may be gone, and there is always one before it.
    if (found.items.length === 0 && wanted.length > 0) return show(wanted.slice(0, -1))
    number.value = wanted.length + 1
    page.value = found
  }

  return {
    page,
    number,
    size,
    refresh: () => show(trail),
    async next() {
      const after = page.value?.nextAfter
      if (after) await show([...trail, after])
    },
    previous: () => show(trail.slice(0, -1)),
    forget() {
      latest += 1
      trail = []
      number.value = 1
      page.value = undefined
    },
  }
}
