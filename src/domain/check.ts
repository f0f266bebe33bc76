/** One thing that has to be so before jobs get anywhere; `detail` says what to do when it is not. */
export type Check = Readonly<{ name: string; ok: boolean; detail: string }>

/** How old the verdict is: who asks never waits for a new one. */
export type StandingCheck = Check & Readonly<{ ageMs: number }>
