import { describe, expect, it } from 'vitest'
import { rememberPaths } from '../../../src/http/fast/remember-paths.ts'

describe('what is remembered of paths', () => {
  it('is found once for each, and refused each time', () => {
    const found: string[] = []
    const get = rememberPaths<string>()
    const find = (path: string) => () => {
      found.push(path)
      if (path === '/no') throw new Error('there is nothing')
      return `at ${path}`
    }
    expect(['/a', '/b', '/a'].map((path) => get(path, find(path)))).toEqual([
      'at /a',
      'at /b',
      'at /a',
    ])
    for (let n = 0; n < 2; n++) expect(() => get('/no', find('/no'))).toThrow('there is nothing')
    expect(found).toEqual(['/a', '/b', '/no', '/no'])
  })

  it('is not what somebody makes up without end: neither very long ones nor very many', () => {
    let found = 0
    const get = rememberPaths<string>()
    const ask = (path: string) =>
      get(path, () => {
        found++
        return path
      })
    for (let n = 0; n < 10_000; n++) expect(ask(`/${n}`)).toBe(`/${n}`)
    ask('/0')
    expect(found).toBe(10_001)
    const long = `/${'x'.repeat(200)}`
    for (let n = 0; n < 3; n++) expect(ask(long)).toBe(long)
    expect(found).toBe(10_004)
  })

  it('keeps a path that is used between a thousand others', () => {
    let found = 0
    const get = rememberPaths<string>()
    const polled = () => get('/polled', () => `found ${++found}`)
    for (let n = 0; n < 1_500; n++) {
      expect(polled()).toBe('found 1')
      get(`/${n}`, () => 'another')
    }
  })
})
