import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { JobJson } from '../../src/http/views/job-view.ts'
import { controlCodes, type WanctlOptions, wanctl, wanctlPath } from '../support/cli.ts'
import { aPicture } from '../support/pictures.ts'
import { aDataDirectory, createShared, type Service, startService } from '../support/service.ts'
import { isFollower } from '../support/store/shared-postgres.ts'

const shared = createShared()
const [ada, ops] = ['ada', 'ops'].map((name) => `token-of-${name}-${crypto.randomUUID()}`)

let service: Service
let guarded: Service
let directory: string
beforeAll(async () => {
  const env = { API_TOKENS: `ada:${ada},ops:${ops}:admin` }
  service = await startService({ atEnd: shared.atEnd })
  guarded = await startService({ atEnd: shared.atEnd, env })
  directory = aDataDirectory(shared.atEnd)
  return shared.clearAway
})

const oldPath = join(dirname(wanctlPath), 'wan.js')
const notice = 'wan is now called wanctl. The next release removes the old name.'

const quick = ['--frames', '5', '--steps', '4']
const run = (args: readonly string[], options?: WanctlOptions) =>
  wanctl(args, { url: service.url, ...options })
const taken = (): string => {
  const path = join(directory, 'taken.mp4')
  writeFileSync(path, 'mine')
  return path
}

describe('an exit code', () => {
  it.each([
    [0, ['--version'], ''],
    [0, ['list'], ''],
    [1, ['generate', 'a\nfox'], 'prompt: must be one line'],
    [1, ['generate', 'a [sim:exit-1]', '--wait', ...quick], 'generation_failed'],
    [2, [], 'Usage: wanctl'],
    [2, ['lisst'], 'Did you mean list?'],
    [2, ['list', '--limit', 'many'], 'whole number'],
    [2, ['generate', 'a fox', '--size', '1x1'], 'Allowed choices are 1280x720'],
    [2, ['cancel'], 'Say which'],
    [2, ['status', '../gpus'], 'is no job'],
    [2, ['--url', 'ftp://127.0.0.1', 'list'], 'must begin with http'],
    [3, ['--url', 'http://127.0.0.1:2', 'list'], 'does not answer: ECONNREFUSED'],
    [5, ['status', '00000000-0000-4000-8000-000000000000'], 'job_not_found'],
    [5, ['status', 'ffffff'], 'None of the latest'],
    [5, ['drain', '7'], 'gpu_not_found'],
    [2, ['nodes', 'burn', 'local'], 'Allowed choices are drain, resume, remove'],
    [2, ['nodes', 'drain'], 'Say which node'],
    [5, ['nodes', 'drain', 'gpu-7'], 'node_not_found'],
    [1, ['nodes', 'remove', 'local'], 'node_present'],
    [6, ['generate', 'a fox', '--image', '/nowhere.png'], 'Cannot read /nowhere.png'],
    [6, ['generate', 'a fox', '-o', '/nowhere/fox.mp4'], 'Cannot write into /nowhere'],
  ])('is %i for %j', async (code, args, said) => {
    const ended = await run(args)
    expect(ended).toMatchObject({ code, stderr: expect.stringContaining(said) })
    if (code > 0) expect(ended.stdout).toBe('')
  })

  it('is 4 without the right token', async () => {
    const at = (token?: string) => ({ url: guarded.url, env: { WAN_TOKEN: token } })
    const stranger = await run(['list'], at())
    expect(stranger).toMatchObject({ code: 4, stderr: expect.stringContaining('Set WAN_TOKEN') })
    expect(await run(['list'], at('a-token-that-nobody-has'))).toMatchObject({ code: 4 })
    for (const command of [['gpus'], ['nodes'], ['tasks'], ['reload', 'ti2v-5B']]) {
      expect(await run(command, at(ada))).toMatchObject({ code: 4 })
    }
    expect(await run(['list'], at(ada))).toMatchObject({ code: 0 })
    expect(await run(['gpus'], at(ops))).toMatchObject({ code: 0 })
  })

  it('is 6 before anything is submitted when a file is in the way', async () => {
    const path = taken()
    const before = await service.json<{ jobs: JobJson[] }>('/jobs?limit=1')
    const ended = await run(['generate', 'a fox', '-o', path])
    expect(ended).toMatchObject({ code: 6, stderr: expect.stringContaining('--force') })
    const after = await service.json<{ jobs: JobJson[] }>('/jobs?limit=1')
    expect(after.jobs[0]?.id).toBe(before.jobs[0]?.id)
  })

  it('is 3 where something else answers', async () => {
    const url = await aServer('text/html', '<h1>It works!</h1>')
    expect(await run(['list'], { url })).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('no wan-supervisor'),
    })
  })

  it('is 1, with a sentence, under a Node that is too old', async () => {
    const [old] = ['/usr/bin/node', '/usr/local/bin/node'].filter(isOld)
    if (!old) return
    const ended = await wanctl([], { command: [old, wanctlPath, '--version'] })
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toMatch(
      /^wanctl needs Node 24 or newer, and this is Node [\d.]+ \(.*\)\.\n$/,
    )
  })
})

describe('the old name wan', () => {
  it.each([[['--version']], [['completion', 'bash']], [['drain', '7']], [['lisst']]])(
    'prints the new name on stderr and then does the same for %j',
    async (args) => {
      const now = await run(args)
      const before = await run([], { command: [process.execPath, oldPath, ...args] })
      expect(before).toEqual({ ...now, stderr: `${notice}\n${now.stderr}` })
    },
  )
})

describe('wanctl generate', () => {
  it('writes the id of the job and nothing else to stdout', async () => {
    const { stdout, stderr } = await run([
      ...['generate', 'a fox', '--seed', '7', '--negative-prompt', 'owls', ...quick],
    ])
    expect(stdout).toMatch(/^[0-9a-f-]{36}\n$/)
    expect(stderr).toContain('wanctl wait')
    const job = await service.status(stdout.trim())
    expect(job).toMatchObject({
      ...{ prompt: 'a fox', negative_prompt: 'owls', seed: 7 },
      ...{ frames: 5, steps: 4, size: '1280x720' },
    })
  })

  it('uploads an image', async () => {
    const image = aPicture(directory, 'fox.png')
    const { stdout } = await run(['generate', 'it runs', '--image', image, '--seed', '8', ...quick])
    const job = await service.until(stdout.trim())
    expect(job).toMatchObject({ status: 'success', seed: 8, image: { type: 'png', width: 900 } })
  })

  it('takes what follows -- for the prompt', async () => {
    const { code, stdout } = await run(['generate', ...quick, '--', '-foxy'])
    expect(code).toBe(0)
    expect((await service.status(stdout.trim())).prompt).toBe('-foxy')
  })
})

describe('a job', () => {
  it('is found by its id, by how that begins, and as the latest', async () => {
    const id = await service.submit({ prompt: 'a heron' })
    await service.until(id)
    for (const reference of [id, id.toUpperCase(), id.slice(0, 8), 'latest']) {
      const { stdout } = await run(['status', reference, '--json'])
      expect(JSON.parse(stdout)).toMatchObject({ id, prompt: 'a heron', attempts: [{}] })
    }
    expect((await run(['status', id])).stdout).toMatch(/^status +success$/m)
    expect((await run(['logs', id])).stdout).toContain('Input prompt: a heron')
    expect((await run(['logs'])).stdout).toContain('Input prompt: a heron')
    const { log } = JSON.parse((await run(['logs', '--json'])).stdout)
    expect(log).toContain('Input prompt: a heron')
  })

  it('is listed, the latest first', async () => {
    const id = await service.submit({ prompt: 'a stork' })
    await service.until(id)
    const [head, first] = (await run(['list', '--limit', '2'])).stdout.split('\n')
    expect(head).toMatch(/^ID +STATUS +PROGRESS +LEFT +GPU +SUBMITTED +PROMPT$/)
    expect(first).toMatch(new RegExp(`^${id.slice(0, 8)}  success .* a stork$`))
    const { jobs } = JSON.parse((await run(['list', '--limit', '1', '--json'])).stdout)
    expect(jobs).toMatchObject([{ id }])
    expect(
      (await run(['list', '--status', 'error,canceled', '--limit', '250'])).stdout,
    ).not.toContain(id.slice(0, 8))
  })

  it('is canceled', async () => {
    const id = await service.submit({ prompt: 'a [sim:hang-step]' })
    await service.until(id, ({ status }) => status === 'running')
    const { code, stdout } = await run(['cancel', id.slice(0, 8)])
    expect([code, stdout]).toEqual([0, `${id.slice(0, 8)} canceled\n`])
    const again = await run(['cancel', id, '--json'])
    expect(JSON.parse(again.stdout)).toMatchObject({ unchanged: [{ id, status: 'canceled' }] })
    const waited = await run(['wait', id])
    expect(waited).toMatchObject({ code: 1, stderr: expect.stringContaining('was canceled') })
  })
})

describe('a GPU', () => {
  it('is shown, drained, resumed and restarted', async () => {
    const [head, first] = (await run(['gpus'])).stdout.split('\n')
    expect(head).toMatch(/^GPU +STATE/)
    expect(first).toMatch(/^0 +(idle|busy)/)
    expect((await run(['drain', '1'])).stdout).toMatch(/^GPU 1 .*wanctl resume 1\n$/)
    const drained = JSON.parse((await run(['gpus', '--json'])).stdout)
    expect(drained.gpus).toMatchObject([
      { id: 0 },
      { id: 1, state: expect.stringMatching(/^drain/) },
    ])
    expect((await run(['resume', '1', '--json'])).stdout).toContain('"id": 1')
    expect((await run(['restart', '1', '--job', 'requeue'])).stdout).toContain('GPU 1')
    expect((await run(['restart', '1', '--job', 'burn'])).code).toBe(2)
  })
})

describe('wanctl nodes', () => {
  it('lists nodes, drains and resumes one', async () => {
    const [head, ...rows] = (await run(['nodes'])).stdout.split('\n')
    expect(head).toMatch(/^NODE +STATE +ROLE +GPUS +JOBS/)
    const row = rows.find((one) => one.startsWith('local'))
    const role = isFollower ? 'follower' : 'leader'
    expect(row).toMatch(new RegExp(`^local +present +${role} +0, 1 +yes +`))
    const drained = await run(['nodes', 'drain', 'local'])
    expect(drained.stdout).toBe(
      'local is drained, also for GPUs added later. Its GPUs 0, 1 finish their jobs and take no new ones. ' +
        'To end that: wanctl nodes resume local\n',
    )
    expect((await run(['nodes'])).stdout).toContain('no: drained')
    const resumed = await run(['nodes', 'resume', 'local', '--json'])
    expect(JSON.parse(resumed.stdout)).toMatchObject({ name: 'local', drained: false })
    expect((await run(['nodes', 'resume', 'local'])).stdout).toBe(
      'local takes jobs again on its GPUs 0, 1.\n',
    )
  })

  const aNode = (name: string, gpus: number[], drained: boolean | null) => ({
    ...{ name, url: `http://${name}:8080`, role: 'follower', state: 'present', version: '1.2.3' },
    ...{ drained, has_room: true, hold: null, max_concurrent_loads: 1, gpus },
  })

  it('lists no node as taking jobs that has no GPUs, or that the leader does not know yet', async () => {
    const list = [
      aNode('gpu-1', [0], false),
      aNode('no-gpu', [], false),
      aNode('resting', [], true),
      aNode('new', [], null),
    ]
    const url = await aServer('application/json', JSON.stringify({ nodes: list }))
    const lines = (await run(['nodes'], { url })).stdout.split('\n')
    const jobs = ['yes', 'no: no GPUs', 'no: drained', '\\?']
    for (const [index, text] of jobs.entries()) {
      expect(lines[index + 1]).toMatch(new RegExp(`${text} +1\\.2\\.3`))
    }
  })

  it('says that a node without GPUs is drained, and resumed', async () => {
    const url = await aServer('application/json', JSON.stringify(aNode('no-gpu', [], true)))
    expect((await run(['nodes', 'drain', 'no-gpu'], { url })).stdout).toBe(
      'no-gpu is drained, also for GPUs added later. It has no GPUs now. To end that: wanctl nodes resume no-gpu\n',
    )
    expect((await run(['nodes', 'resume', 'no-gpu'], { url })).stdout).toBe(
      'no-gpu takes jobs again when it has GPUs.\n',
    )
  })
})

describe('a cluster', () => {
  const gpuOf = (id: number, node: string) => ({
    ...{ id, node, state: 'idle', job_id: null, start: null, stage: null, step: null, name: null },
    ...{ quarantine: null, measured: null },
  })
  const answer = {
    ...{ status: 'ok', version: '1.2.3', uptime_seconds: 1, given_up: [], ready: true, checks: [] },
    ...{ jobs: [], has_more: false, gpus: [gpuOf(0, 'gpu-7'), gpuOf(1, 'gpu-8')] },
    nodes: { present: 2, left: 0, lost: 1, leader: 'gpu-7' },
  }

  it('is shown by wanctl status', async () => {
    const url = await aServer('application/json', JSON.stringify(answer))
    const { stdout } = await run(['status'], { url })
    expect(stdout).toMatch(/^nodes +2 present, 1 lost, led by gpu-7$/m)
    const other = { ...answer, nodes: { ...answer.nodes, leader: null } }
    const leaderless = await aServer('application/json', JSON.stringify(other))
    expect((await run(['status'], { url: leaderless })).stdout).toMatch(/^nodes .*no leader$/m)
    if (!isFollower) expect((await run(['status'])).stdout).not.toContain('nodes')
  })

  it('has the node of each GPU in wanctl gpus', async () => {
    const url = await aServer('application/json', JSON.stringify(answer))
    const [head, ...rows] = (await run(['gpus'], { url })).stdout.split('\n')
    expect(head).toMatch(/^GPU +NODE +STATE/)
    expect(rows[0]).toMatch(/^0 +gpu-7 +idle/)
    expect(rows[1]).toMatch(/^1 +gpu-8 +idle/)
    expect((await run(['gpus'])).stdout).not.toContain('NODE')
  })

  it('has the node of a job in wanctl status', async () => {
    const id = await service.submit({ prompt: 'a stork' })
    const job = await service.until(id)
    expect((await run(['status', id])).stdout).not.toMatch(/^node /m)
    const elsewhere = JSON.stringify({ ...job, node: 'gpu-8' })
    const url = await aServer('application/json', elsewhere)
    expect((await run(['status', id], { url })).stdout).toMatch(/^node +gpu-8$/m)
  })
})

describe('wanctl status', () => {
  it('says how the service is, and fails while it is not ready', async () => {
    const { code, stdout } = await run(['status'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ready +yes$/m)
    const env = { WAN_CKPT_DIR: '/nowhere' }
    const other = await startService({ env })
    const ended = await run(['status', '--json'], { url: other.url })
    expect(ended.code).toBe(1)
    expect(JSON.parse(ended.stdout)).toMatchObject({ ready: false, running: 0, status: 'ok' })
    expect((await run(['status'], { url: other.url })).stdout).toContain('checkpoint: /nowhere')
  })
})

describe('the help', () => {
  it('has examples for every command', async () => {
    const { stdout } = await run(['--help'])
    const [, commands = ''] = stdout.split(/^Commands:$/m)
    const names = [...commands.matchAll(/^ {2}(\w+)/gm)].map(([, name = '']) => name)
    const own = names.filter((name) => !['help', 'WAN_URL', 'WAN_TOKEN', 'NO_COLOR'].includes(name))
    expect(own.length).toBeGreaterThan(12)
    for (const name of own.filter((name) => !/^\d/.test(name))) {
      expect((await run([name, '--help'])).stdout, name).toContain(`Examples:\n  `)
    }
  })
})

describe('hostile text', () => {
  const prompt = 'a\u001b]0;pwned\u0007\u001b[2J \u009b31m fox \u202e xof\r\nroot# '
  const job = { id: crypto.randomUUID(), status: 'error', prompt, progress: 0, eta_seconds: null }
  const times = { submitted_at: '2026-07-31T12:00:00.000Z', started_at: null, ended_at: null }
  const hostile = { ...job, ...times, gpu_id: null, error: { code: 'killed', message: prompt } }

  it.each([
    ['list', { jobs: [hostile] }],
    ['status', { ...hostile, file: null, file_url: null, owner: null, attempts: [] }],
  ])('does not reach the terminal of wanctl %s', async (command, answer) => {
    const url = await aServer('application/json', JSON.stringify(answer))
    const args = command === 'list' ? ['list'] : ['status', job.id]
    const text = await run(args, { url })
    expect(text.stdout).toContain('fox')
    expect(text.stdout).not.toMatch(controlCodes)
    expect(text.stdout).not.toMatch(/^root#/m)
    const json = await run([...args, '--json'], { url })
    expect(json.stdout).not.toMatch(controlCodes)
    expect(JSON.parse(json.stdout)).toEqual(answer)
  })

  it('does not reach the terminal of wanctl logs, nor that of a refused command', async () => {
    const log = await aServer('text/plain', `${prompt}\n\tand more\n`)
    const { stdout } = await run(['logs', job.id], { url: log })
    expect(stdout).toContain('\n\tand more\n')
    expect(stdout.replaceAll('\t', '')).not.toMatch(controlCodes)
    const refusal = await aServer('application/problem+json', `{"detail":"${'\\u001b[2J'}"}`, 422)
    const { code, stderr } = await run(['list'], { url: refusal })
    expect(code).toBe(1)
    expect(stderr).not.toMatch(controlCodes)
  })
})

describe('output', () => {
  it.each([['list'], ['gpus'], ['tasks'], ['status'], ['doctor'], ['--help']])(
    'of wanctl %s has no control codes in a pipe, also from a terminal',
    async (...args) => {
      expect((await run(args)).stdout).not.toMatch(controlCodes)
      const command = ['sh', '-c', '"$@" | cat', 'sh', process.execPath, wanctlPath, ...args]
      const { stdout } = await run([], { inTerminal: true, command })
      expect(stdout.replaceAll('\r\n', '\n')).not.toMatch(controlCodes)
    },
  )

  it('has colours in a terminal, unless NO_COLOR is set', async () => {
    const colored = await run(['doctor'], { inTerminal: true })
    expect(colored.stdout).toContain('\u001b[3')
    const plain = await run(['doctor'], { inTerminal: true, env: { NO_COLOR: '1' } })
    expect(plain.stdout.replaceAll('\r\n', '\n')).not.toMatch(controlCodes)
  })

  it('is no failure when nobody reads it to the end', async () => {
    const command = ['bash', '-o', 'pipefail', '-c', '"$@" | true; echo $?', 'sh']
    const ended = await run([], { command: [...command, process.execPath, wanctlPath, 'gpus'] })
    expect(ended).toMatchObject({ stdout: '0\n', stderr: '' })
  })
})

describe('completion', () => {
  const bin = () => {
    for (const path of [wanctlPath, oldPath]) {
      const program = join(directory, basename(path, '.js'))
      if (existsSync(program)) continue
      writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${path}' "$@"\n`, {
        mode: 0o755,
      })
    }
    return directory
  }
  /** What bash offers for the last word, once it has read the completion of the command. */
  const offeredBy = async (completion: string, words: readonly [string, ...string[]]) => {
    const [name] = words
    const script = `source ${completion}; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1))
      _${name} ${name} "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD-1]}"
      printf '%s\\n' "\${COMPREPLY[@]}"`
    const env = { PATH: `${bin()}:${process.env.PATH}` }
    const command = ['bash', '-c', script, 'bash', ...words]
    const { stdout, stderr } = await run([], { command, env, cwd: directory })
    expect(stderr).toBe('')
    return stdout.trim().split('\n')
  }
  const offered = (...words: readonly string[]) =>
    offeredBy('<(wanctl completion bash)', ['wanctl', ...words])

  it('offers commands, options, values, jobs, GPUs, nodes and tasks in bash', async () => {
    const id = await service.submit({ prompt: 'a crane $(touch pwned) `touch pwned`' })
    expect(await offered('ge')).toEqual(['generate'])
    expect(await offered('generate', '--se')).toEqual(['--seed'])
    expect(await offered('generate', '--size', '12')).toEqual(['1280x720', '1280x704'])
    expect(await offered('cancel', id.slice(0, 4))).toContain(id.slice(0, 8))
    expect(await offered('restart', '')).toEqual(['0', '1'])
    expect(await offered('reload', '')).toEqual(['ti2v-5B'])
    expect(await offered('nodes', 'dr')).toEqual(['drain'])
    expect(await offered('nodes', 'drain', '')).toContain('local')
  })

  it('runs nothing of what has been typed, and nothing of any prompt', async () => {
    await offered('generate', '"$(touch', 'pwned)"', '--se')
    await offered('status', '')
    expect(existsSync(join(directory, 'pwned'))).toBe(false)
  })

  it('of the old name, saved before the command was renamed, still works', async () => {
    const saved = join(directory, 'completion-of-wan')
    writeFileSync(saved, completionOfWan)
    expect(await offeredBy(saved, ['wan', 'ge'])).toEqual(['generate'])
    expect(await offeredBy(saved, ['wan', 'restart', ''])).toEqual(['0', '1'])
  })

  it.each(['bash', 'zsh', 'fish'])('has a script for %s', async (shell) => {
    const { code, stdout } = await run(['completion', shell])
    expect(code).toBe(0)
    expect(stdout).toContain('wanctl complete --')
    if (shell === 'bash') execFileSync('bash', ['-n'], { input: stdout })
  })
})

/** The output of `wan completion bash` before the command was renamed. */
const completionOfWan = `_wan() {
  local value about
  COMPREPLY=()
  case $3 in -o | --output | --image) return ;; esac
  while IFS=$'\\t' read -r value about; do
    [[ $value == :* ]] || COMPREPLY+=("$value")
  done < <(wan complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _wan wan
`

function isOld(path: string): boolean {
  try {
    const version = execFileSync(path, ['--version'], { encoding: 'utf8' })
    return Number(/^v(\d+)/.exec(version)?.[1]) < 24
  } catch {
    return false
  }
}

/** Answers everything alike; gives its address. */
async function aServer(type: string, body: string, status = 200): Promise<string> {
  const server = createServer((_, response) => {
    response.writeHead(status, { 'Content-Type': type }).end(body)
  })
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
