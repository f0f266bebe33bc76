import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createNegativePromptRefusal } from '../../../src/infra/installation/negative-prompt.ts'

function aCheckout(pipeline?: string) {
  const wanDir = mkdtempSync(join(tmpdir(), 'checkout-'))
  onTestFinished(() => rmSync(wanDir, { recursive: true }))
  const write = (text: string) => {
    mkdirSync(join(wanDir, 'wan'), { recursive: true })
    writeFileSync(join(wanDir, 'wan', 'textimage2video.py'), text)
  }
  if (pipeline !== undefined) write(pipeline)
  return { wanDir, write }
}

describe('the refusal of negative prompts', () => {
  it('is given without the launcher, whatever the checkout', () => {
    const { wanDir } = aCheckout('self.sample_neg_prompt = config.sample_neg_prompt')
    const refuse = createNegativePromptRefusal({ wanDir, launcher: false })
    expect(refuse()).toContain('WAN_LAUNCHER=1')
  })

  it('follows the checkout, as it changes', async () => {
    const { wanDir, write } = aCheckout('class WanTI2V: pass')
    const refuse = createNegativePromptRefusal({ wanDir, launcher: true })
    await expect.poll(refuse).toContain('no sample_neg_prompt')
    write('self.sample_neg_prompt = config.sample_neg_prompt')
    await expect.poll(refuse).toBeUndefined()
  })

  it('is not given where there is no checkout to be read', async () => {
    const refuse = createNegativePromptRefusal({ wanDir: '/no/such/place', launcher: true })
    expect(refuse()).toBeUndefined()
    await new Promise(setImmediate)
    expect(refuse()).toBeUndefined()
  })
})
