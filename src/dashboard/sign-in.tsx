import { useId, useState } from 'preact/hooks'
import { faultOf, signIn } from './api.ts'
import { Banner } from './banner.tsx'
import { isGone } from './contact.ts'
import { Logo } from './icons.tsx'
import { ActionButton, ErrorNote } from './parts.tsx'

export function SignIn() {
  const [given, setGiven] = useState('')
  const [fault, setFault] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const errorId = useId()

  async function send(event: Event): Promise<void> {
    event.preventDefault()
    setBusy(true)
    setFault(undefined)
    try {
      await signIn(given.trim())
    } catch (error) {
      const { status, text } = faultOf(error)
      setFault(
        status === 401
          ? 'This token is not known. Check that it is whole, or ask whoever runs the service.'
          : text,
      )
      setBusy(false)
    }
  }

  return (
    <main class="sign-in">
      {isGone.value && <Banner />}
      <form class="panel" onSubmit={send}>
        <Logo />
        <h1>Sign in</h1>
        <p class="muted">This service wants a token. It is kept for this tab only.</p>
        <label class="field">
          <span class="label">Token</span>
          <input
            class="input"
            name="token"
            type="password"
            autoComplete="off"
            spellcheck={false}
            required
            value={given}
            onInput={({ currentTarget }) => setGiven(currentTarget.value)}
            {...(fault !== undefined && { 'aria-invalid': true, 'aria-describedby': errorId })}
          />
        </label>
        {fault !== undefined && <ErrorNote id={errorId}>{fault}</ErrorNote>}
        <ActionButton type="submit" class="button primary wide" disabled={isBusy}>
          {isBusy ? 'Trying…' : 'Sign in'}
        </ActionButton>
      </form>
    </main>
  )
}
