import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import pLimit from 'p-limit'
import type { JobId } from '../../../src/domain/job.ts'
import { attemptDirectory } from '../../../src/infra/disk/data-directory.ts'
import { commandOfAttempt, environmentFor } from '../../../src/infra/generation/command.ts'
import { versionOf } from '../machine.ts'
import { python } from '../noop.ts'
import { type Contender, gpus, NotInstalled, submittedAtOnce } from './contender.ts'
import { isInstalled } from './servers.ts'
import { configOf, environmentOf, requestOf, shim } from './work.ts'

const run = promisify(execFile)

/** Runs commands: each is a shell script here, which starts the shim and what the conversion starts. */
export const taskSpooler: Contender = {
  name: 'task-spooler',
  async open(directory) {
    if (!isInstalled('tsp')) throw new NotInstalled('tsp', 'task-spooler')
    const { data, wan } = configOf(directory)
    const env = {
      ...environmentFor({ ...process.env, ...environmentOf(directory) }, ''),
      TS_SOCKET: join(directory, 'tsp.sock'),
      TS_SLOTS: String(gpus.length),
      TMPDIR: directory,
    }
    for (const path of [data.workDir, data.resultsDir]) mkdirSync(path, { recursive: true })
    execFileSync('tsp', ['-S', String(gpus.length)], { env })
    const finished = () => readdirSync(data.resultsDir).filter((name) => name.endsWith('.mp4'))
    let handedIn = 0
    return {
      what: /v\S+/.exec(versionOf('tsp', ['-V']))?.[0] ?? '',
      async run(jobs) {
        const limit = pLimit(submittedAtOnce)
        await Promise.all(jobs.map((n) => limit(() => submit(n))))
        handedIn += jobs.length
        while (finished().length < handedIn) await delay(20)
        while ((await run('tsp', [], { env })).stdout.match(/ (running|queued) /)) await delay(20)
      },
      // Its processes are many and short: what they use is not seen from outside.
      cpu: () => Number.NaN,
      async close() {
        await run('tsp', ['-K'], { env })
      },
    }

    async function submit(n: number): Promise<void> {
      const jobId = crypto.randomUUID() as JobId
      const order = { jobId, epoch: 1, request: { ...requestOf(n), seed: n } }
      const attemptDir = attemptDirectory(data, order)
      mkdirSync(attemptDir, { recursive: true })
      const argv = commandOfAttempt(data, wan, order)
      const spec = { job: jobId, epoch: 1, argv, cwd: wan.wanDir }
      writeFileSync(join(attemptDir, 'spec.json'), JSON.stringify(spec))
      const result = join(data.resultsDir, `${jobId}.mp4`)
      await run('tsp', [script, attemptDir, result, python, shim], { env })
    }
  },
}

const script = join(import.meta.dirname, 'job.sh')
