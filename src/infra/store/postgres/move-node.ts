/** Moves what only one machine knows into the database of a cluster: the numbers of its GPUs, and images. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Kysely, type NotNull, sql } from 'kysely'
import type { GpuId, InputImage, JobId } from '../../../domain/job.ts'
import type { NodeName } from '../../../domain/node.ts'
import { type DataDirectory, imageOf } from '../../disk/data-directory.ts'
import type { Gpu } from '../../machine/gpus.ts'
import type { Database } from '../schema.ts'
import { putImage } from './image-store.ts'

export type MovedNode = Readonly<{
  name: NodeName
  gpus: readonly Gpu[]
  data: Pick<DataDirectory, 'workDir'>
}>

export type MovedImages = Readonly<{
  /** Number of images. */
  moved: number
  /** Open jobs whose image is not on the disk as it was submitted. They cannot start without it. */
  missing: readonly JobId[]
}>

/**
 * Each GPU keeps its number, also one that the machine has no longer: it says on which node a video is. The database has
 * no jobs of other nodes, so numbers of others are free.
 */
export async function moveGpus(
  target: Kysely<Database>,
  { name: node, gpus }: MovedNode,
): Promise<readonly GpuId[]> {
  const { rows: used } = await sql<{ id: GpuId }>`
    select gpu as id from attempt union select gpu from job where gpu is not null union select id from gpu
  `.execute(target)
  const places = new Map<GpuId, { device: string; name?: string; uuid?: string }>()
  for (const { id } of used) places.set(id, { device: String(id) })
  for (const { id, ...place } of gpus) places.set(id, place)
  const rows = [...places]
    .toSorted(([one], [other]) => one - other)
    .map(([id, { device, name = null, uuid = null }]) => ({ id, node, device, name, uuid }))
  await target.deleteFrom('node_gpu').execute()
  await target.insertInto('node_gpu').values(rows).execute()
  return rows.map(({ id }) => id)
}

/** Moves the images of open jobs that the database does not have yet, and compares them there. */
export async function moveImages(
  target: Kysely<Database>,
  { data }: Pick<MovedNode, 'data'>,
): Promise<MovedImages> {
  const jobs = await target
    .selectFrom('job')
    .select(['id', 'image'])
    .where('status', 'in', ['queued', 'running'])
    .where('deleted_at', 'is', null)
    .where('image', 'is not', null)
    .$narrowType<{ image: NotNull }>()
    .orderBy('seq')
    .execute()
  const missing: JobId[] = []
  for (const { id, image } of jobs) {
    const { sha256 } = JSON.parse(image) as InputImage
    if ((await hashIn(target, id)) === sha256) continue
    const bytes = await readFile(imageOf(data, id)).catch(codeENOENT)
    if (!bytes || createHash('sha256').update(bytes).digest('hex') !== sha256) {
      missing.push(id)
      continue
    }
    await putImage(target, id, bytes)
    if ((await hashIn(target, id)) !== sha256) {
      throw new Error(`The image of job ${id} is not in the database as it is on the disk.`)
    }
  }
  return { moved: jobs.length - missing.length, missing }
}

async function hashIn(target: Kysely<Database>, jobId: JobId): Promise<string | undefined> {
  const { rows } = await sql<{ hash: string }>`
    select encode(sha256(string_agg(bytes, '' order by part)), 'hex') as hash from image where job_id = ${jobId}
  `.execute(target)
  return rows[0]?.hash
}

function codeENOENT(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}
