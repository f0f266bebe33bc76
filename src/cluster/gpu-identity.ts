/** Whether two names mean one GPU: `GPU_IDS` may name it by its number on the machine, or by its UUID. */

/** `index`: its number on the machine, where that is certain. */
export type NamedGpu = Readonly<{ device: string; index?: number; uuid?: string | null }>

type KnownGpu = Readonly<{ id: number; device: string; uuid?: string | null }>

/** Known GPUs of a machine that it names in another way now, with the new name. */
export function renamedGpus<Known extends KnownGpu>(
  known: readonly Known[],
  now: readonly NamedGpu[],
): readonly Readonly<{ id: number; device: string }>[] {
  const named = (device: string, all: readonly Readonly<{ device: string }>[]) =>
    all.some((one) => one.device === device)
  const retired = known.filter(({ device }) => !named(device, now))
  return now
    .filter(({ device }) => !named(device, known))
    .flatMap((gpu) => {
      const former = retired.filter((one) => isSame(one, gpu))
      return former.length === 1 && former[0] ? [{ id: former[0].id, device: gpu.device }] : []
    })
}

/** UUIDs decide where both are known: cards may have been exchanged. */
function isSame(known: KnownGpu, now: NamedGpu): boolean {
  const uuids = [uuidOf(known), uuidOf(now)] as const
  const [a, b] = uuids
  // A UUID may be given by its beginning.
  if (a && b) return a.startsWith(b) || b.startsWith(a)
  return now.index !== undefined && known.device === String(now.index)
}

const uuidOf = ({ device, uuid }: NamedGpu): string | undefined =>
  uuid ?? (/^(GPU|MIG)-/.test(device) ? device : undefined)
