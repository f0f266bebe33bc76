/**
 * Reads of single rows that go together: while one group is being read, those that are asked for meanwhile form the
 * next one. A read that nobody competes with begins at once. A new leader asks for each of thousands of running jobs,
 * which would fill the pool of connections until reads give up.
 */
export function groupReads<Key, Row>(
  readMany: (keys: readonly Key[]) => Promise<readonly Row[]>,
  keyOf: (row: Row) => Key,
  maxGroup = 500,
): (key: Key) => Promise<Row | undefined> {
  let waiting = new Map<Key, PromiseWithResolvers<Row | undefined>>()
  let isReading = false

  return (key) => {
    const asked = waiting.get(key) ?? Promise.withResolvers<Row | undefined>()
    waiting.set(key, asked)
    if (!isReading) void readAll()
    return asked.promise
  }

  async function readAll(): Promise<void> {
    isReading = true
    while (waiting.size > 0) {
      const group = new Map([...waiting].slice(0, maxGroup))
      waiting = new Map([...waiting].slice(maxGroup))
      await read(group)
    }
    isReading = false
  }

  async function read(
    group: ReadonlyMap<Key, PromiseWithResolvers<Row | undefined>>,
  ): Promise<void> {
    try {
      const rows = new Map((await readMany([...group.keys()])).map((row) => [keyOf(row), row]))
      for (const [key, { resolve }] of group) resolve(rows.get(key))
    } catch (error) {
      for (const { reject } of group.values()) reject(error)
    }
  }
}
