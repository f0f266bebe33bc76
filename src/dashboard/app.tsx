import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { client, introduce, isLockedOut, lockOut, token, urlOf } from './api.ts'
import { Banner } from './banner.tsx'
import { Charts } from './charts.tsx'
import { isGone, isReady, keepContact } from './contact.ts'
import { Gallery } from './gallery.tsx'
import { GpuCards } from './gpu-cards.tsx'
import { Cross, HalfMoon, Logo, Moon, Sun } from './icons.tsx'
import { JobPage } from './job/job-page.tsx'
import { connection } from './live.ts'
import { NodeList } from './nodes.tsx'
import { dismiss, notices } from './notices.ts'
import { Badge, ErrorNote, Prompt, type Tone } from './parts.tsx'
import { CancelDialog, QueueList } from './queue-list.tsx'
import { createRefresher } from './refresher.ts'
import { jobHref, place } from './route.ts'
import { SignIn } from './sign-in.tsx'
import { keepUp, running, trouble } from './state.ts'
import { SubmitForm } from './submit-form.tsx'
import { nextTheme, theme } from './theme.ts'

export function App() {
  useEffect(keepContact, [])
  return (
    <div class={isGone.value ? 'app gone' : 'app'}>
      {isLockedOut.value ? <SignIn /> : client.value ? <Inside /> : <Entrance />}
      <Notices />
    </div>
  )
}

/** Until the service has said who we are; it may be on its way up. */
function Entrance() {
  useEffect(() => {
    const refresher = createRefresher(introduce, 2_000)
    void refresher.now()
    const timer = setInterval(() => refresher.soon(), 2_000)
    return () => clearInterval(timer)
  }, [])
  return (
    <>
      <Header />
      <Banner />
      <main class="overview" id="main" aria-busy="true" />
    </>
  )
}

function Inside() {
  useEffect(keepUp, [])
  useTitle()
  const where = place.value
  return (
    <>
      <button type="button" class="skip button" onClick={skipToMain}>
        Skip to the content
      </button>
      <Header />
      <Banner />
      {trouble.value && !isGone.value && (
        <div class="trouble">
          <ErrorNote>{trouble.value.text} What is shown may be old.</ErrorNote>
        </div>
      )}
      {where.at === 'job' ? <JobPage id={where.id} /> : <Overview />}
      <CancelDialog />
    </>
  )
}

/** No link: what is behind `#` says which page this is. */
function skipToMain(): void {
  const main = document.getElementById('main')
  main?.setAttribute('tabindex', '-1')
  main?.focus()
}

const Overview = () => (
  <main class="overview" id="main">
    <h1 class="hidden">Overview</h1>
    <div class="overview-side">
      <SubmitForm />
    </div>
    <div class="overview-main">
      <NodeList />
      <GpuCards />
      <QueueList />
      <Gallery />
      <Charts />
    </div>
  </main>
)

const Header = () => (
  <header class="top">
    <a class="brand" href="#/">
      <Logo />
      <span>wan-supervisor</span>
    </a>
    <div class="top-side">
      <Connection />
      <a class="button quiet small" href={urlOf('docs')}>
        API
      </a>
      <ThemeButton />
      {token.value !== undefined && (
        <button type="button" class="button quiet small" onClick={lockOut}>
          Sign out
        </button>
      )}
    </div>
  </header>
)

const connections: Readonly<Record<typeof connection.value, { tone: Tone; word: string }>> = {
  connecting: { tone: 'plain', word: 'Connecting' },
  live: { tone: 'good', word: 'Live' },
  lost: { tone: 'bad', word: 'Reconnecting' },
}

const notReady = { tone: 'warn', word: 'Not ready' } as const

function Connection() {
  const isLive = connection.value === 'live'
  const { tone, word } = isLive && !isReady.value ? notReady : connections[connection.value]
  return (
    <span class="connection" role="status">
      <Badge tone={tone}>{word}</Badge>
    </span>
  )
}

const themeButtons = {
  system: { picture: <HalfMoon />, name: 'Colours: as the system has them' },
  light: { picture: <Sun />, name: 'Colours: light' },
  dark: { picture: <Moon />, name: 'Colours: dark' },
}

function ThemeButton() {
  const { picture, name } = themeButtons[theme.value]
  return (
    <button type="button" class="button quiet icon-only" title={name} onClick={nextTheme}>
      {picture}
      <span class="hidden">{name}</span>
    </button>
  )
}

const Notices = () => (
  <div class="notices" role="status" aria-live="polite">
    {notices.value.map(({ key, tone, text, job }) => (
      <div key={key} class={`notice ${tone}`}>
        <div class="notice-text">
          <Line>{text}</Line>
          {job && (
            <a href={jobHref(job.id)}>
              <Prompt lines={1}>{job.prompt}</Prompt>
            </a>
          )}
        </div>
        <button type="button" class="button quiet icon-only small" onClick={() => dismiss(key)}>
          <Cross />
          <span class="hidden">Dismiss</span>
        </button>
      </div>
    ))}
  </div>
)

const Line = ({ children }: { children: ComponentChildren }) => <p>{children}</p>

/** Seen in a row of tabs: how far the work has come. */
function useTitle(): void {
  const count = running.value.size
  useEffect(() => {
    document.title = count === 0 ? 'wan-supervisor' : `(${count}) wan-supervisor`
  }, [count])
}
