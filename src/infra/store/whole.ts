import { sql } from 'kysely'

/** A parameter that is a whole number. PostgreSQL would take it for one of 32 bits beside a small number. */
export const whole = (value: number) => sql<number>`cast(${value} as bigint)`
