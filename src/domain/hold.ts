/**
 * Why nothing is deleted by age. `gap`: the service was last seen to run long before, or the clock
 * was set forward since. `behind`: it was last seen to run after now.
 * `jumped`: the clock was set while the service ran. `all_due`: at the start, not one job was young
 * enough to be kept.
 */
export type Doubt = 'gap' | 'behind' | 'jumped' | 'all_due'

/** For so much longer nothing is deleted by age. It counts while the service runs. */
export type Hold = Readonly<{ because: Doubt; leftMs: number }>
