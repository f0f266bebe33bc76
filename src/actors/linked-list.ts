/** Immutable lists to which an element is added without a copy. */

export type LinkedList<T> = Readonly<{ last: T; before: LinkedList<T> }> | undefined

export const append = <T>(list: LinkedList<T>, last: T): LinkedList<T> => ({ last, before: list })

/** First element first. */
export function toArray<T>(list: LinkedList<T>): T[] {
  const elements: T[] = []
  for (let rest = list; rest; rest = rest.before) elements.push(rest.last)
  return elements.reverse()
}

export const toList = <T>(elements: Iterable<T>): LinkedList<T> => {
  let list: LinkedList<T>
  for (const element of elements) list = append(list, element)
  return list
}
