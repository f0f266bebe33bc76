/** The probe (probe.py): forks of a process with PyTorch and weights, on this GPU. */
import { join } from 'node:path'
import { environmentFor } from '../../src/infra/generation/command.ts'
import { runTool } from '../../src/infra/processes/tool.ts'
import { median } from '../performance/figures.ts'
import { type Checks, FailedError } from './checks.ts'

/** Seven forks, each with a start of CUDA. */
const maxProbeMs = 180_000

type Said = Readonly<{ step: string; error?: string } & Record<string, unknown>>

export type ProbeOptions = Readonly<{ python: string; gpu: number }>

export async function runProbe(checks: Checks, { python, gpu }: ProbeOptions): Promise<void> {
  const said = await checks.check('probe: runs', async () => {
    const { leftMs, signal } = checks.clock
    const program = join(import.meta.dirname, 'probe.py')
    const output = await runTool([python, program, String(gpu)], {
      timeoutMs: Math.max(1, Math.min(maxProbeMs, leftMs())),
      signal,
      // A child may be stuck in the driver.
      afterKill: 'leave',
      env: environmentFor(process.env, String(gpu)),
    })
    const lines = output.trimEnd().split('\n')
    return { detail: 'to its end', value: lines.map((line) => JSON.parse(line) as Said) }
  })
  for (const { name, step, describe } of steps) {
    if (!said) {
      checks.leaveOut([name], 'the probe did not run to its end')
      continue
    }
    await checks.check(name, async () => {
      const found = said.find((one) => one.step === step)
      if (!found) throw new Error('the probe did not say')
      if (found.error !== undefined) throw new FailedError(found.error, found)
      return { detail: describe(found), figures: found, value: undefined }
    })
  }
}

const steps = [
  {
    name: 'probe: a template does not touch CUDA',
    step: 'template',
    describe: ({ import_s, threads, gpu_mib }: Said) =>
      `PyTorch imported in ${seconds(import_s)}, ${threads} thread, ${gpu_mib} MiB of the GPU in use`,
  },
  {
    name: 'probe: its forks use the GPU',
    step: 'forks',
    describe: ({ forks, freed_s }: Said) => {
      const of = (name: string) => {
        const values = (forks as Record<string, number>[]).map((fork) => fork[name] ?? Number.NaN)
        return median(values)
      }
      return [
        `fork ${milliseconds(of('fork_s'))}, context ${seconds(of('context_s'))}`,
        `first product ${seconds(of('product_s'))}`,
        `to the GPU ${of('mapped_gb_s').toFixed(1)} GB/s mapped, ${of('private_gb_s').toFixed(1)} GB/s private`,
        `end ${seconds(of('end_s'))}, memory back in ${seconds(freed_s)}`,
      ].join(', ')
    },
  },
  {
    name: 'probe: a kill while computing',
    step: 'kill',
    describe: ({ reaped_s, gpu_mib_computing, freed_s }: Said) =>
      `reaped in ${milliseconds(reaped_s)}, ${gpu_mib_computing} MiB back in ${seconds(freed_s)}`,
  },
  {
    name: 'probe: a standby with a CUDA context',
    step: 'standby',
    describe: ({ costs_mib, freed_s }: Said) =>
      `takes ${costs_mib} MiB of the GPU, back in ${seconds(freed_s)}`,
  },
  {
    name: 'probe: the template is as before',
    step: 'template after all',
    describe: ({ threads, gpu_mib }: Said) =>
      `no CUDA, ${threads} thread, ${gpu_mib} MiB of the GPU in use`,
  },
] as const

const seconds = (value: unknown): string => `${Number(value).toFixed(2)} s`
const milliseconds = (value: unknown): string => `${(Number(value) * 1000).toFixed(0)} ms`
