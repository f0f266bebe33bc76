import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { createLogReader } from '../../http/response/log-reader.ts'
import { answerTo, api } from '../api.ts'
import { Empty, Section } from '../parts.tsx'
import { createRefresher } from '../refresher.ts'
import { Scrolling } from './scrolling.tsx'
import { type Detail, isOpen } from './use-job.ts'

/** As much of the end of a log as a page can hold. */
const logBytes = 128_000

const lastLines = (log: string): string =>
  log.length <= logBytes ? log : log.slice(log.indexOf('\n', log.length - logBytes) + 1)

/** A log grows by lines: often enough to follow, seldom enough not to be felt. */
const logMs = 2_000

export function Log({ job }: { job: Detail }) {
  const [text, setText] = useState<string>()
  const [isFollowing, setFollowing] = useState(true)
  const box = useRef<HTMLElement>(null)
  const { id } = job
  const open = isOpen(job)
  useEffect(() => {
    let isCurrent = true
    const reader = createLogReader(
      async (headers) => {
        const response = await api.jobs[':id'].log.$get({ param: { id } }, { headers })
        if (!response.ok && response.status !== 416) await answerTo(response)
        return response
      },
      { lastBytes: logBytes },
    )
    const refresher = createRefresher(async () => {
      const { text, isAnew } = await reader.read()
      if (isCurrent) setText((known = '') => (isAnew ? text : lastLines(known + text)))
    }, logMs)
    void refresher.now()
    const timer = open && setInterval(() => !document.hidden && refresher.soon(), logMs)
    return () => {
      isCurrent = false
      if (timer) clearInterval(timer)
    }
  }, [id, open])
  useLayoutEffect(() => {
    if (isFollowing && box.current) box.current.scrollTop = box.current.scrollHeight
  }, [text, isFollowing])

  return (
    <Section
      title="Log"
      aside={
        open && (
          <label class="check small">
            <input
              type="checkbox"
              checked={isFollowing}
              onChange={({ currentTarget }) => setFollowing(currentTarget.checked)}
            />{' '}
            Follow
          </label>
        )
      }
    >
      {text === '' ? (
        <Empty title={open ? 'No log yet' : 'No log'}>
          {open
            ? 'generate.py says something once the job has begun.'
            : 'It never began, or its log has been removed.'}
        </Empty>
      ) : (
        <Scrolling kind="log" label="Log of generate.py" box={box}>
          {text ?? ' '}
        </Scrolling>
      )}
    </Section>
  )
}
