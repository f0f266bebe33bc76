import { open } from 'node:fs/promises'

/** Of a file or a directory: what is in it must still be there after a power cut. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
