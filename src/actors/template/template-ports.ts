/** What the actor of a template needs from outside. */
import type { TemplateEvent } from './template-protocol.ts'

export type TemplatePort = Readonly<{
  /** Starts to load. Its news carry the number: `loaded` or `notLoaded`, `outOfDate`, and `ended` at last. */
  build(build: number, tell: (event: TemplateEvent) => void): void
  /** Has a fork use a GPU as soon as one has no generation: `probed`. */
  probe(build: number, tell: (event: TemplateEvent) => void): void
  /** From now on generations are forked from it. */
  use(): void
  /** No generation is forked from it any more, and it ends. Those that were forked go on. */
  end(): void
  /** Whether the host is short of memory. */
  isMemoryShort(): boolean
}>
