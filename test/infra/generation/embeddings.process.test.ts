import { execFile, execFileSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { root } from '../../../src/config/root.ts'

const launcher = join(root, 'src/infra/generation/launcher.py')
const run = promisify(execFile)

type Embedding = readonly [numbers: string, dtype: string, shape: number[], device: string]
type Made = Readonly<{ did: string[]; isOn: string; embeddings: Embedding[] }>
type Options = Readonly<{ env?: NodeJS.ProcessEnv; maxBytes?: number; args?: readonly string[] }>

/** A script with a text encoder, and a directory where its embeddings are kept. */
function anEncoder() {
  const home = mkdtempSync(join(tmpdir(), 'embeddings-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  const [checkout, kept] = [join(home, 'checkout'), join(home, 'kept')]
  cpSync(join(root, 'test/support/encoder'), checkout, { recursive: true })
  writeFileSync(join(checkout, 't5.pth'), 'weights')
  mkdirSync(join(checkout, 'tokenizer'))
  writeFileSync(join(checkout, 'tokenizer', 'spiece.model'), 'words')
  let number = 0

  const generate = async (
    [prompt, negative]: readonly [string, string],
    { env = {}, maxBytes = 1e6, args = [] }: Options = {},
  ) => {
    number += 1
    const events = join(home, `events-${number}.jsonl`)
    const script = ['generate.py', prompt, negative, ...args]
    const command = [launcher, `--embeddings=${maxBytes}:${kept}`, events, ...script]
    const options = { cwd: checkout, env: { PATH: process.env.PATH, ...env } }
    const { stdout, stderr } = await run('python3', command, options)
    expect(stderr).toBe('')
    const lines = readFileSync(events, 'utf8').trim().split('\n')
    const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    return {
      made: JSON.parse(stdout) as Made,
      found: told.flatMap(({ event, found }) => (event === 'embedding' ? [found] : [])),
      fallbacks: told.flatMap(({ part, why }) => (part === 'embedding_cache' ? [why] : [])),
    }
  }
  const files = () => readdirSync(kept).map((name) => join(kept, name))
  return { checkout, kept, files, generate }
}

const fox = ['A fox', 'blur'] as const

describe('the embeddings of prompts', () => {
  it('are kept for the next generation, which need not move the text encoder at all', async () => {
    const { generate } = anEncoder()
    const first = await generate(fox)
    expect(first.made).toMatchObject({
      did: ['to cuda:0', 'encode A fox on cuda:0', 'encode blur on cuda:0', 'to cpu'],
      isOn: 'cpu',
    })
    expect(first.found).toEqual([0, 0])
    const second = await generate(fox)
    expect(second.made).toEqual({ ...first.made, did: [] })
    expect(second.found).toEqual([1, 1])
    expect(second.fallbacks).toEqual([])
  })

  it('are made where only the negative prompt is known, on the GPU that the script wanted', async () => {
    const { generate } = anEncoder()
    await generate(fox)
    const { made, found } = await generate(['An owl', 'blur'])
    expect(made.did).toEqual(['to cuda:0', 'encode An owl on cuda:0', 'to cpu'])
    expect(found).toEqual([0, 1])
  })

  it('are kept apart by device, so that --t5_cpu gets what a CPU has made', async () => {
    const { generate } = anEncoder()
    await generate(fox)
    const onCpu = { args: ['--t5_cpu'] }
    expect((await generate(fox, onCpu)).found).toEqual([0, 0])
    expect(await generate(fox, onCpu)).toMatchObject({ found: [1, 1], made: { did: [] } })
  })

  it.each<[string, (checkout: string) => void, NodeJS.ProcessEnv]>([
    ['the weights', (checkout) => writeFileSync(join(checkout, 't5.pth'), 'other weights'), {}],
    [
      'the weights, as long as before',
      (checkout) => utimesSync(join(checkout, 't5.pth'), 1, 1),
      {},
    ],
    ['the tokenizer', (checkout) => writeFileSync(join(checkout, 'tokenizer', 'new'), ''), {}],
    ['the code', (checkout) => utimesSync(join(checkout, 'wan/modules/t5.py'), 1, 1), {}],
    ['PyTorch', () => {}, { TORCH: '2.14.0' }],
    ['the GPU', () => {}, { GPU: 'NVIDIA GeForce RTX 4090' }],
  ])('are made anew when these have changed: %s', async (_what, change, env) => {
    const { checkout, generate } = anEncoder()
    await generate(fox)
    change(checkout)
    expect((await generate(fox, { env })).found).toEqual([0, 0])
  })

  it.each<[string, (path: string, others: readonly string[]) => void]>([
    ['is cut', (path) => writeFileSync(path, readFileSync(path).subarray(0, -1))],
    ['is empty', (path) => writeFileSync(path, '')],
    ['has one other bit', (path) => writeFileSync(path, flipped(readFileSync(path)))],
    ['is that of another prompt', (path, [other]) => cpSync(other ?? '', path)],
    ['is a link', (path) => replaceBy(path, () => symlinkSync('/etc/passwd', path))],
    ['is a FIFO', (path) => replaceBy(path, () => execFileSync('mkfifo', [path]))],
    ['is larger than any embedding', (path) => writeFileSync(path, Buffer.alloc(17 << 20))],
    ['may not be read', (path) => replaceBy(path, () => mkdirSync(path))],
  ])('are made anew, with the same numbers, where a file %s', async (_case, spoil) => {
    const { files, generate } = anEncoder()
    const { made } = await generate(fox)
    const [path = '', ...others] = files()
    spoil(path, others)
    const again = await generate(fox)
    expect(again.made.embeddings).toEqual(made.embeddings)
    expect(again.found.toSorted()).toEqual([0, 1])
    expect(again.fallbacks).toEqual([])
  })

  it('are replaced where their file was not whole', async () => {
    const { files, generate } = anEncoder()
    await generate(fox)
    writeFileSync(files()[0] ?? '', 'rubbish')
    await generate(fox)
    expect((await generate(fox)).found).toEqual([1, 1])
  })

  it('never take more room than they may: what was used longest ago goes first', async () => {
    const { files, generate } = anEncoder()
    const maxBytes = 10_000
    const prompt = (n: number) => [`Fox ${n}`, 'blur'] as const
    const options = { maxBytes, env: { ROWS: '60' } }
    for (let n = 0; n < 8; n += 1) {
      await generate(prompt(n), options)
      const sizes = files().map((path) => statSync(path).size)
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(maxBytes)
    }
    expect((await generate(prompt(7), options)).found).toEqual([1, 1])
    expect((await generate(prompt(0), options)).found).toEqual([0, 1])
  })

  it('are not kept where one alone would take too much room', async () => {
    const { files, generate } = anEncoder()
    await generate(fox, { maxBytes: 100 })
    expect(files()).toEqual([])
  })

  it('can be read by nobody else, and do not name the prompt', async () => {
    const { kept, files, generate } = anEncoder()
    await generate(fox)
    expect(statSync(kept).mode & 0o777).toBe(0o700)
    for (const path of files()) {
      expect(statSync(path).mode & 0o777).toBe(0o600)
      expect(path + readFileSync(path, 'latin1')).not.toContain('fox')
    }
  })

  it('of many generations at once are all whole', async () => {
    const { generate } = anEncoder()
    await Promise.all(Array.from({ length: 6 }, () => generate(fox)))
    expect((await generate(fox)).found).toEqual([1, 1])
  })

  it('are not kept by one of several ranks, which encode together', async () => {
    const { kept, generate } = anEncoder()
    expect((await generate(fox, { env: { WORLD_SIZE: '2' } })).found).toEqual([])
    expect(existsSync(kept)).toBe(false)
  })

  it('are made as always where the directory is none, and the reason is told', async () => {
    const { kept, generate } = anEncoder()
    writeFileSync(kept, '')
    chmodSync(kept, 0o400)
    const { made, fallbacks } = await generate(fox)
    expect(made.did).toEqual([
      ...['to cuda:0', 'encode A fox on cuda:0', 'encode blur on cuda:0', 'to cpu'],
    ])
    expect(fallbacks).toEqual([expect.stringMatching(/^\w+Error: /)])
  })

  it('are made as always where they are no numbers that are known', async () => {
    const { made, fallbacks } = await anEncoder().generate(fox, { env: { DTYPE: 'torch.int64' } })
    expect(made.isOn).toBe('cpu')
    expect(fallbacks).toEqual(['Unexpected: an embedding consists of int64'])
  })
})

const replaceBy = (path: string, make: () => void): void => {
  rmSync(path)
  make()
}

function flipped(bytes: Buffer): Buffer {
  const last = bytes.length - 1
  bytes.writeUInt8((bytes[last] ?? 0) ^ 1, last)
  return bytes
}
