/** What the parts need of a logger: fields for machines and one fixed phrase for people. */
type Log = (fields: object, phrase: string) => void

export type Logger = Readonly<{ debug: Log; info: Log; warn: Log; error: Log }>
