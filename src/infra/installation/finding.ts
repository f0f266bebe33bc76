/** Result of one check of `wanctl doctor`. `detail` says what to do about a warning or a fault. */
export type Finding = Readonly<{
  name: string
  verdict: 'ok' | 'warning' | 'fault' | 'skipped'
  detail: string
}>

export const finding = (name: string, verdict: Finding['verdict'], detail: string): Finding => ({
  name,
  verdict,
  detail,
})
