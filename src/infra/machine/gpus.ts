/** Which GPUs this service runs on: those it is told to use, else those that can be found. */
import * as v from 'valibot'
import { GpuId } from '../../domain/job.ts'
import { listGpus, type NvidiaGpu, type NvidiaSmiAnswer } from './nvidia-smi.ts'

export type Gpu = Readonly<{
  id: GpuId
  /** What `CUDA_VISIBLE_DEVICES` gets. */
  device: string
  name?: string
  uuid?: string
}>

type GpuEnvironment = Readonly<{
  /** `GPU_IDS`, split and trimmed. */
  gpuIds?: readonly string[] | undefined
  nvidiaVisibleDevices?: string | undefined
}>

/**
 * `GPU_IDS`, else `NVIDIA_VISIBLE_DEVICES`, else what nvidia-smi lists. No GPU is an error whose
 * message can be shown as it is; GPU 0 is never assumed.
 */
export async function detectGpus(
  { gpuIds, nvidiaVisibleDevices = '' }: GpuEnvironment,
  list: () => Promise<NvidiaSmiAnswer> = listGpus,
): Promise<readonly Gpu[]> {
  if (gpuIds) return chosenGpus(gpuIds, list)

  const visible = [...new Set(splitList(nvidiaVisibleDevices))]
  if (visible.join() === 'none') {
    throw noGpu('NVIDIA_VISIBLE_DEVICES is "none", which hides every GPU')
  }
  // CDI sets `void` in containers that do have GPUs.
  if (['', 'void', 'all'].includes(visible.join())) return listedGpus(await list())
  return visibleGpus(visible, await list())
}

/** The GPUs with their UUIDs, as far as nvidia-smi answers. */
export async function identifyGpus<Known extends Pick<Gpu, 'device' | 'uuid'>>(
  gpus: readonly Known[],
  list: () => Promise<NvidiaSmiAnswer> = listGpus,
): Promise<readonly Known[]> {
  if (gpus.every(({ uuid }) => uuid !== undefined)) return gpus
  const answer = await list()
  const listed = answer.ok ? answer.gpus : []
  return gpus.map((gpu) => {
    const found = listed.find(({ index }) => String(index) === gpu.device)
    return found && gpu.uuid === undefined ? { ...gpu, uuid: found.uuid } : gpu
  })
}

/** Numbers alone are taken as they are: nvidia-smi could only add names, and may hang. */
async function chosenGpus(
  entries: readonly string[],
  list: () => Promise<NvidiaSmiAnswer>,
): Promise<readonly Gpu[]> {
  if (!entries.some(Boolean)) throw noGpu('GPU_IDS is empty')

  const choices = entries.map((entry) => parseChoice('GPU_IDS', entry))
  for (const [position, { device }] of choices.entries()) {
    if (entries.indexOf(device) < position) throw noGpu(`GPU_IDS names ${device} twice`)
  }
  if (choices.every(isNumber)) return choices.map(({ device, index }) => ({ id: index, device }))

  const answer = await list()
  return identify('GPU_IDS', choices, answer.ok ? answer.gpus : [])
}

function visibleGpus(entries: readonly string[], answer: NvidiaSmiAnswer): readonly Gpu[] {
  // Inside a container the variable still has the host's numbers (or a device plugin's own words),
  // while the GPUs are numbered from 0 again. UUIDs stay what they are.
  const isListed = (entry: string): boolean =>
    uuid.test(entry) || (answer.ok && answer.gpus.some(({ index }) => String(index) === entry))
  if (answer.ok && !entries.every(isListed)) return listedGpus(answer)

  const choices = entries.map((entry) => parseChoice('NVIDIA_VISIBLE_DEVICES', entry))
  return identify('NVIDIA_VISIBLE_DEVICES', choices, answer.ok ? answer.gpus : [])
}

function listedGpus(answer: NvidiaSmiAnswer): readonly Gpu[] {
  if (!answer.ok) throw noGpu(`No GPU was named and none was found: ${answer.why}`)
  if (answer.gpus.length === 0) throw noGpu('No GPU was found: nvidia-smi lists none')
  return answer.gpus.map(({ index, name, uuid }) => ({
    id: v.parse(GpuId, index),
    device: String(index),
    name,
    uuid,
  }))
}

/** A number, or a UUID whose number is not known yet. */
type Choice = Readonly<{ device: string; index?: GpuId }>

const uuid = /^(GPU|MIG)-[\w/-]+$/
const wholeNumber = /^(0|[1-9]\d*)$/

function parseChoice(variable: string, entry: string): Choice {
  if (uuid.test(entry)) return { device: entry }
  const index = v.safeParse(GpuId, Number(entry))
  if (wholeNumber.test(entry) && index.success) return { device: entry, index: index.output }
  throw noGpu(
    `${variable} names ${JSON.stringify(entry)}, which is neither a number nor a UUID (GPU-… or MIG-…)`,
  )
}

/** Numbers every GPU: its own number where that is known, else its place in the list or the next free one. */
function identify(
  variable: string,
  choices: readonly Choice[],
  listed: readonly NvidiaGpu[],
): readonly Gpu[] {
  const found = choices.map(({ device, index }) => {
    const gpu = findListed(listed, device, index)
    return { device, gpu, index: index ?? gpu?.index }
  })

  const owners = new Map<number, string>()
  for (const { device, index } of found) {
    if (index === undefined) continue
    const other = owners.get(index)
    if (other) throw noGpu(`${variable} names GPU ${index} twice, as ${other} and as ${device}`)
    owners.set(index, device)
  }

  return found.map(({ device, gpu, index }, position) => {
    let id = index ?? position
    while (owners.has(id) && owners.get(id) !== device) id += 1
    owners.set(id, device)
    return { id: v.parse(GpuId, id), device, ...(gpu && { name: gpu.name, uuid: gpu.uuid }) }
  })
}

/** CUDA takes a UUID's beginning for the whole where only one GPU has it; so does this. */
function findListed(
  listed: readonly NvidiaGpu[],
  device: string,
  index: GpuId | undefined,
): NvidiaGpu | undefined {
  const found = listed.filter((gpu) =>
    index === undefined ? gpu.uuid.startsWith(device) : gpu.index === index,
  )
  return found.length === 1 ? found[0] : undefined
}

const isNumber = (choice: Choice): choice is Required<Choice> => choice.index !== undefined

const splitList = (list: string): string[] =>
  list
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean)

const noGpu = (problem: string): Error =>
  new Error(
    `${problem}. To try the service without a GPU, run \`make demo\` or \`wanctl serve --sim\`.`,
  )
