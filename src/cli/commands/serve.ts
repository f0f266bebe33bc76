import { simulatedEnvironment } from '../../infra/installation/simulation.ts'
import { runService } from '../../service/run.ts'

/** Runs the service in this process and with this environment, like `npm start`. */
export async function serve({ sim }: Readonly<{ sim?: number }>): Promise<void> {
  if (sim !== undefined) {
    const dataDir = process.env.DATA_DIR || './data/simulated'
    Object.assign(process.env, simulatedEnvironment(sim, dataDir))
  }
  // Generations inherit the environment and must not see the client's token.
  delete process.env.WAN_TOKEN
  await runService()
}
