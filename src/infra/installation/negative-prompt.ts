import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WanSetup } from '../generation/command.ts'

/** The attribute of Wan2.2's pipelines that the launcher sets. */
const attribute = 'sample_neg_prompt'

/**
 * Returns a function that says why no job can have a negative prompt. It answers at once, from the latest look at the
 * checkout, and looks again for the next time. While nothing is known it refuses nothing: the launcher does.
 */
export function createNegativePromptRefusal({
  wanDir,
  launcher,
}: Pick<WanSetup, 'wanDir' | 'launcher'>): () => string | undefined {
  let isKnownToLack = false
  let isLooking = false
  if (!launcher) return () => 'needs the launcher; set WAN_LAUNCHER=1, or leave the field out'
  look()

  return () => {
    look()
    return isKnownToLack
      ? `is not supported by the checkout in WAN_DIR, which has no ${attribute}; leave the field out`
      : undefined
  }

  function look(): void {
    if (isLooking) return
    isLooking = true
    hasAttribute(join(wanDir, 'wan'))
      .then((has) => {
        isKnownToLack = !has
      })
      // What is missing altogether is the subject of GET /ready.
      .catch(() => {})
      .finally(() => {
        isLooking = false
      })
  }
}

async function hasAttribute(directory: string): Promise<boolean> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.py'))
  for (const name of names) {
    if ((await readFile(join(directory, name), 'utf8')).includes(attribute)) return true
  }
  return false
}
