import type { Attempt } from '../../http/typed-client.ts'
import { Copy } from '../icons.tsx'
import { notify } from '../notices.ts'
import { Section } from '../parts.tsx'
import { Scrolling } from './scrolling.tsx'

export function Command({ attempts }: { attempts: readonly Attempt[] }) {
  const command = attempts.at(-1)?.command
  if (!command) return null
  const text = command.map(quoted).join(' ')
  return (
    <Section
      title="Command line"
      aside={
        navigator.clipboard && (
          <button
            type="button"
            class="button small quiet"
            onClick={() =>
              void navigator.clipboard.writeText(text).then(
                () => notify({ tone: 'plain', text: 'Copied' }),
                () => notify({ tone: 'bad', text: 'The browser does not let us copy' }),
              )
            }
          >
            <Copy /> Copy
          </button>
        )
      }
    >
      <Scrolling kind="wrap" label="Command line of the last attempt">
        {text}
      </Scrolling>
    </Section>
  )
}

/** As a shell wants it. */
const quoted = (argument: string): string =>
  /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`
