/** For clients that show a log while it grows: only what is new of it is fetched. */

/** `isAnew`: in the place of all that was read before, not behind it. */
export type LogPiece = Readonly<{ text: string; isAnew: boolean }>

/** Of what is known already, fetched once more to see whether it still is so. */
const overlapBytes = 512

/**
 * `get` asks for the log with these headers; it rejects when the answer is neither that nor 416.
 * With `lastBytes`, only whole lines at the end of the log are wanted at first.
 *
 * A service that takes up a generation again writes what it says anew, and perhaps in another order.
 * Then the log does not go on as it was known, and is read from its beginning.
 */
export function createLogReader(
  get: (headers: Record<string, string>) => Promise<Response>,
  { lastBytes }: { lastBytes?: number } = {},
) {
  let end = 0
  let overlap = new Uint8Array()
  let decoder = new TextDecoder()

  return {
    async read(): Promise<LogPiece> {
      const answer = end > 0 ? await get(range(`${end - overlap.length}-`)) : undefined
      if (answer?.status === 206) {
        const bytes = new Uint8Array(await answer.arrayBuffer())
        if (overlap.every((byte, index) => byte === bytes[index])) {
          return { text: take(bytes.subarray(overlap.length), end), isAnew: false }
        }
      }
      const whole =
        answer?.status === 200
          ? answer
          : await get(lastBytes === undefined ? {} : range(`-${lastBytes}`))
      const bytes = new Uint8Array(await whole.arrayBuffer())
      const begin = Number(/^bytes (\d+)-/.exec(whole.headers.get('Content-Range') ?? '')?.[1] ?? 0)
      const cut = begin > 0 ? bytes.indexOf(newline) + 1 : 0
      overlap = new Uint8Array()
      decoder = new TextDecoder()
      return { text: take(bytes.subarray(cut), begin + cut), isAnew: true }
    },
  }

  function take(bytes: Uint8Array, begin: number): string {
    end = begin + bytes.length
    const known = new Uint8Array([...overlap, ...bytes.subarray(-overlapBytes)])
    overlap = known.slice(-overlapBytes)
    // The last character may have been cut; the rest of it comes with the next piece.
    return decoder.decode(bytes, { stream: true })
  }
}

const newline = 10

const range = (which: string) => ({ Range: `bytes=${which}` })
