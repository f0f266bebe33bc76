/** Results go to stdout, everything else to stderr. */
import { plainJson } from './text.ts'

export type OutputOptions = Readonly<{ json?: boolean }>

/** A result: the document, or what a person wants to know of it. */
export function show(document: unknown, { json }: OutputOptions, text: () => string): void {
  process.stdout.write(`${json ? plainJson(document, 2) : text()}\n`)
}

/** One of many results that come as they happen. */
export function showEvent(event: object): void {
  process.stdout.write(`${plainJson(event)}\n`)
}

/** A word to whoever watches. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** A reader that has had enough (`wanctl list | head`) is no failure. */
export function endQuietlyWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit()
    throw error
  })
}
