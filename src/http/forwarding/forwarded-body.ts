import type { ClientRequest, IncomingMessage } from 'node:http'
import { takeRestOf } from '../request/hear-out.ts'

/** A prompt with all its fields. Each request in progress may hold as much. */
const maxKeptBytes = 64 * 1024

/** Body of a client's request. While it is short it is kept, so that it can be sent to another node as well. */
export class ForwardedBody {
  readonly #incoming: IncomingMessage
  #kept: Buffer[] | undefined = []
  #keptBytes = 0
  #isListening = false
  #isWhole: boolean
  #to: ClientRequest | undefined

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming
    const { 'content-length': length, 'transfer-encoding': encoding } = incoming.headers
    this.#isWhole = encoding === undefined && Number(length ?? 0) === 0
  }

  /** All that has been read of it can be sent again. */
  get isRepeatable(): boolean {
    return this.#kept !== undefined
  }

  sendTo(request: ClientRequest): void {
    this.#to = request
    for (const piece of this.#kept ?? []) request.write(piece)
    if (this.#isWhole) {
      request.end()
      return
    }
    if (!this.#isListening) {
      this.#isListening = true
      this.#incoming.on('data', this.#take)
      this.#incoming.once('end', this.#end)
    }
    this.#incoming.resume()
  }

  /** Reads no further. What is left can be sent to another node. */
  pause(): void {
    this.#to = undefined
    if (this.#isListening) this.#incoming.pause()
  }

  /**
   * Lets what is left come in for a while: a client that sends on is not cut off before it has read the response.
   * Resolves at its end, or when it takes too long.
   */
  async hearOut(): Promise<void> {
    this.#to = undefined
    this.#kept = undefined
    if (!this.#isWhole) await takeRestOf(this.#incoming)
  }

  readonly #take = (piece: Buffer): void => {
    if (this.#to) this.#keep(piece)
    const to = this.#to
    if (!to || to.write(piece)) return
    this.#incoming.pause()
    to.once('drain', () => {
      if (to === this.#to) this.#incoming.resume()
    })
  }

  #keep(piece: Buffer): void {
    this.#keptBytes += piece.length
    if (this.#keptBytes > maxKeptBytes) this.#kept = undefined
    this.#kept?.push(piece)
  }

  readonly #end = (): void => {
    this.#isWhole = true
    this.#to?.end()
  }
}
