/** Which files are being downloaded: those do not expire just then. */
export type Downloads = {
  /** Somebody begins to read this file; to be told when that is over. */
  begin(filename: string): () => void
  isInUse(filename: string): boolean
}

/** A player asks for one piece of a video after the other. */
const pauseMs = 60_000

type Use = { readers: number; lastEnd: number }

export function createDownloads(clock: () => number = () => performance.now()): Downloads {
  const uses = new Map<string, Use>()
  const isOver = ({ readers, lastEnd }: Use) => readers === 0 && clock() - lastEnd >= pauseMs

  return {
    begin(filename) {
      forgetOver()
      const use = uses.get(filename) ?? { readers: 0, lastEnd: 0 }
      uses.set(filename, use)
      use.readers += 1
      return () => {
        use.readers -= 1
        use.lastEnd = clock()
        // The one that ended last comes last.
        uses.delete(filename)
        uses.set(filename, use)
      }
    },

    isInUse(filename) {
      const use = uses.get(filename)
      return use !== undefined && !isOver(use)
    },
  }

  function forgetOver(): void {
    for (const [filename, use] of uses) {
      if (isOver(use)) uses.delete(filename)
      else if (use.readers === 0) break
    }
  }
}
