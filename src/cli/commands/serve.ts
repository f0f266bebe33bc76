import { simulatedEnvironment } from '../../infra/installation/simulation.ts'

/** The service itself, in this process and by this environment, as `npm start` runs it. */
export async function serve({ sim }: Readonly<{ sim?: number }>): Promise<void> {
  if (sim !== undefined) {
    const dataDir = process.env.DATA_DIR || './data/simulated'
    Object.assign(process.env, simulatedEnvironment(sim, dataDir))
  }
  // Generations inherit the environment, and have no business with it.
  delete process.env.WAN_TOKEN
  await import('../../main.ts')
}
