/** A binary heap: the first item by an order is found at once, and put or taken in O(log n). */
export class Heap<T> {
  readonly #items: T[]
  readonly #isBefore: (a: T, b: T) => boolean

  constructor(items: Iterable<T>, isBefore: (a: T, b: T) => boolean) {
    this.#items = [...items]
    this.#isBefore = isBefore
    for (let index = (this.#items.length >> 1) - 1; index >= 0; index--) this.#sink(index)
  }

  get first(): T | undefined {
    return this.#items[0]
  }

  /** In no order. */
  get items(): readonly T[] {
    return this.#items
  }

  push(item: T): void {
    const items = this.#items
    let index = items.push(item) - 1
    while (index > 0) {
      const above = (index - 1) >> 1
      if (!this.#isBefore(item, items[above] as T)) break
      items[index] = items[above] as T
      index = above
    }
    items[index] = item
  }

  pop(): T | undefined {
    const [first] = this.#items
    const last = this.#items.pop()
    if (last === undefined || this.#items.length === 0) return first
    this.#items[0] = last
    this.#sink(0)
    return first
  }

  #sink(from: number): void {
    const items = this.#items
    const item = items[from] as T
    let index = from
    for (;;) {
      const left = 2 * index + 1
      if (left >= items.length) break
      const right = left + 1
      const isRight = right < items.length && this.#isBefore(items[right] as T, items[left] as T)
      const below = isRight ? right : left
      if (!this.#isBefore(items[below] as T, item)) break
      items[index] = items[below] as T
      index = below
    }
    items[index] = item
  }
}
