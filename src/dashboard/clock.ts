/** The time as the page shows it. */
import { signal } from '@preact/signals'

/** Milliseconds since 1970, a second at a time. */
export const now = signal(Date.now())
setInterval(() => {
  now.value = Date.now()
}, 1_000)
