import { describe, expect, it, vi } from 'vitest'
import { refOf, tell, tellAskerItFailed } from '../../../src/actors/actor-ref.ts'
import {
  type FileFinding,
  UnconfirmedRemovalError,
} from '../../../src/actors/archive/archive-ports.ts'
import type { NodeCommand } from '../../../src/actors/node/node-protocol.ts'
import type { NodeActors } from '../../../src/actors/queue/fleet.ts'
import type { NodeName } from '../../../src/domain/node.ts'
import { createRemoteFiles } from '../../../src/service/cluster/remote-files.ts'
import { aVideo, gpu0, jobId } from '../../support/jobs.ts'

const withinMs = 20
const video = { jobId: jobId(1), gpu: gpu0, filename: 'fox.mp4', facts: aVideo() }

describe('a file on another machine', () => {
  it('is found and removed by that machine', async () => {
    const { files, letters } = remote(() => 'own')
    expect([await files.find(video), await files.remove(video)]).toEqual(['own', 'own'])
    expect(letters).toEqual(['findVideo', 'removeVideo'])
  })

  it('is not removed while the machine is away', async () => {
    const { files, letters, leave } = remote(() => 'own')
    leave()
    await expect(files.remove(video)).rejects.toMatchObject({ code: 'node_away' })
    expect(letters).toEqual([])
  })

  it('may be removed later when the machine does not answer, and no other question waits for it meanwhile', async () => {
    let answers = false
    const { files, letters } = remote(() => (answers ? 'missing' : undefined))
    await expect(files.remove(video)).rejects.toThrow(UnconfirmedRemovalError)
    for (const ask of [files.find, files.remove]) {
      await expect(ask(video)).rejects.toMatchObject({ code: 'service_busy' })
    }
    expect(letters).toEqual(['removeVideo'])
    answers = true
    await vi.waitFor(async () => expect(await files.find(video)).toBe('missing'))
    expect(await files.remove(video)).toBe('missing')
  })

  it('may be removed when the machine reports a failure, which another question clears up', async () => {
    let isBroken = true
    const { files } = remote(() => {
      if (isBroken) throw new Error('permission denied')
      return 'own'
    })
    await expect(files.remove(video)).rejects.toThrow(UnconfirmedRemovalError)
    isBroken = false
    expect(await files.find(video)).toBe('own')
  })
})

/** One other machine. `undefined`: it does not answer. */
function remote(answer: () => FileFinding | undefined) {
  const letters: string[] = []
  const node = refOf<NodeCommand>('node', (message) => {
    letters.push(message.type)
    if (message.type !== 'findVideo' && message.type !== 'removeVideo') return true
    try {
      const finding = answer()
      if (finding) tell(message.replyTo, finding)
    } catch (error) {
      tellAskerItFailed(message, String(error))
    }
    return true
  })
  let isThere = true
  const name = 'b' as NodeName
  const files = createRemoteFiles(
    {
      at: () => (isThere ? ({ node } as NodeActors) : undefined),
      nodeOf: () => name,
      present: () => [],
      queueRestored() {},
    },
    { isInUse: () => false },
    withinMs,
  )
  return {
    files,
    letters,
    leave() {
      isThere = false
    },
  }
}
