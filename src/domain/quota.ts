/** How much a client may still submit. */
export type Quota = Readonly<{
  limit: number
  remaining: number
  /** Seconds until there is more; absent: there is all of it. */
  moreInS?: number
}>
