import { describe } from 'vitest'
import { describeCommands } from './job-commands.ts'
import { describeEpochs } from './job-epochs.ts'
import { describeFiles } from './job-files.ts'
import { describeListing } from './job-listing.ts'
import { describeNames } from './job-names.ts'
import { describePersistence } from './job-persistence.ts'
import { describeRecords } from './job-records.ts'
import { describeRemoval } from './job-removal.ts'
import { describeSubmissions } from './job-submissions.ts'
import { type CreateStores, useStores } from './stores.ts'

/** Contract that every store of jobs fulfils. */
export function describeJobStore(name: string, createStores: CreateStores): void {
  describe(`the store of jobs on ${name}`, () => {
    const stores = useStores(createStores)
    describeRecords(stores)
    describeCommands(stores)
    describeEpochs(stores)
    describeRemoval(stores)
    describeSubmissions(stores)
    describeNames(stores)
    describeFiles(stores)
    describeListing(stores)
    describePersistence(stores)
  })
}
