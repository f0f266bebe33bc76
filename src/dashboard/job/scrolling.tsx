import type { RefObject } from 'preact'

/** What scrolls has to be reached by the keyboard, and so to have a name. */
export const Scrolling = ({
  kind,
  label,
  box,
  children,
}: {
  kind: 'wrap' | 'log'
  label: string
  box?: RefObject<HTMLElement | null>
  children: string
}) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: see above
  <section class={`code ${kind}`} aria-label={label} tabIndex={0} {...(box && { ref: box })}>
    <pre>{children}</pre>
  </section>
)
