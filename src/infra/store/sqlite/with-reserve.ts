import { DiskFullError } from '../../../domain/errors.ts'
import type { Reserve } from '../../disk/reserve.ts'
import { writeTroubleOf } from './sqlite-errors.ts'

/** Writes what a start cannot do without. On a full disk the reserve is given up for it. */
export async function withReserve<Result>(
  reserve: Pick<Reserve, 'release'>,
  write: () => Promise<Result>,
): Promise<Result> {
  try {
    return await write()
  } catch (error) {
    const isForRoom = error instanceof DiskFullError || writeTroubleOf(error) !== undefined
    if (!isForRoom || !reserve.release()) throw error
    return write()
  }
}
