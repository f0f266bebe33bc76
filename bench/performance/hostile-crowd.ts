/** How many connections attack at a time. */
export const crowd = { idle: 2_000, deaf: 300, pipelining: 100 } as const
