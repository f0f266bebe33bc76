/** Settings that must not change a video: the same requests give the same bytes with each. */
export type Variant = Readonly<{
  name: string
  env: NodeJS.ProcessEnv
  hasLauncher: boolean
  isWarm?: boolean
}>

export const variants: readonly Variant[] = [
  // The first is the reference: nothing but the script itself.
  { name: 'without the launcher', env: { WAN_LAUNCHER: '0', WAN_SDPA: '0' }, hasLauncher: false },
  { name: 'with FAST_LOAD=off', env: { FAST_LOAD: 'off' }, hasLauncher: true },
  { name: 'with FAST_LOAD=on', env: {}, hasLauncher: true },
  { name: 'with WARM_START=on', env: { WARM_START: 'on' }, hasLauncher: true, isWarm: true },
]
