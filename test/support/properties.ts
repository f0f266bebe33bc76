/**
 * How many random cases each property is tried with: `PROPERTY_RUNS` of them, to look longer than
 * `make test` does. The queue's stories (queue-model.property.test.ts) have a number of their own.
 */
import fc from 'fast-check'

fc.configureGlobal({ numRuns: Number(process.env.PROPERTY_RUNS ?? 100) })
