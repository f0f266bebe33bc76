import { expect, it } from 'vitest'
import { runPython } from '../../support/warm/warm-attempt.ts'

it('does not call back for a file whose number an earlier callback has given to another one', () => {
  const said = runPython(
    'import os',
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
  )
  expect(said).toBe('first\n')
})
