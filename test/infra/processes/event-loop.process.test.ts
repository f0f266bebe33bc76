import { execFileSync } from 'node:child_process'
import { dirname } from 'node:path'
import { expect, it } from 'vitest'
import { shimPath } from '../../support/shim-attempt.ts'
import { python } from '../../support/warm/warm-attempt.ts'

it('does not call back for a file whose number an earlier callback has given to another one', () => {
  const program = [
    'import os, sys; sys.path.insert(0, sys.argv[1])',
    'from event_loop import NEVER, Events',
    'events = Events()',
    '(first, a), (second, b) = os.pipe(), os.pipe()',
    'def replace(fd):',
    '    print("first"); events.remove(first); events.remove(second)',
    '    os.dup2(os.pipe()[0], second)  # of which nothing can be read',
    '    events.add(second, lambda fd: print("not ready"))',
    'events.add(first, replace); events.add(second, lambda fd: print("second"))',
    'os.write(a, b"x"); os.write(b, b"x")',
    'events.wait(NEVER)',
  ]
  const args = ['-c', program.join('\n'), dirname(shimPath)]
  expect(execFileSync(python, args).toString()).toBe('first\n')
})
