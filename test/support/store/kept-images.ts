import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { databaseOf } from './shared-postgres.ts'

/** Whether the image of a job is stored: in the work files of its machine, or in the database of its cluster. */
export async function isImageKept(dataDir: string, jobId: string): Promise<boolean> {
  const { DATABASE_URL } = await databaseOf(dataDir)
  if (DATABASE_URL === undefined) return existsSync(join(dataDir, 'work', jobId, 'image'))
  const client = new Client(DATABASE_URL)
  await client.connect()
  try {
    const { rowCount } = await client.query('select 1 from image where job_id = $1', [jobId])
    return rowCount !== 0
  } finally {
    await client.end()
  }
}
