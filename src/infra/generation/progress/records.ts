/** How a record ended: a return lets the next one be drawn over it. */
export type RecordEnd = 'return' | 'newline'

/**
 * Cuts bytes into records at `\r` and `\n`, which are never part of a longer UTF-8 sequence, so that
 * whole records can be decoded. What waits for its end is held in one buffer of fixed size; what is
 * longer than that is cut off.
 */
export function createSplitter(maxBytes: number, onRecord: (text: string, end: RecordEnd) => void) {
  let held: Buffer | undefined
  let heldBytes = 0

  function hold(bytes: Buffer, from: number, to: number): void {
    if (from === to) return
    held ??= Buffer.allocUnsafeSlow(maxBytes)
    heldBytes += bytes.copy(held, heldBytes, from, to)
  }

  function takeHeld(): string {
    const text = held?.toString('utf8', 0, heldBytes) ?? ''
    heldBytes = 0
    return text
  }

  return {
    push(chunk: Uint8Array): void {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      let from = 0
      for (let at = 0; at < bytes.length; at++) {
        const byte = bytes[at]
        if (byte !== 10 && byte !== 13) continue
        let text = ''
        if (heldBytes > 0) {
          hold(bytes, from, at)
          text = takeHeld()
        } else if (at > from) {
          text = bytes.toString('utf8', from, Math.min(at, from + maxBytes))
        }
        onRecord(text, byte === 10 ? 'newline' : 'return')
        from = at + 1
      }
      hold(bytes, from, bytes.length)
    },
    /** What is held so far, if it is no longer than that. */
    peek: (limit: number): string =>
      held && heldBytes <= limit ? held.toString('utf8', 0, heldBytes) : '',
    end: (): void => onRecord(takeHeld(), 'newline'),
  }
}
