import { useEffect, useRef, useState } from 'preact/hooks'
import type { InferResponseType, Job } from '../../http/typed-client.ts'
import { answerTo, api, type Fault, faultOf } from '../api.ts'
import { connection } from '../live.ts'
import { createRefresher } from '../refresher.ts'
import { watchJobs } from '../state.ts'

export type Detail = InferResponseType<(typeof api.jobs)[':id']['$get'], 200>

export const isOpen = ({ status }: Pick<Job, 'status'>): boolean =>
  status === 'queued' || status === 'running'

/** The job as it is, kept so by its events; places and estimates of waiting jobs are asked for. */
export function useJob(id: string) {
  const [job, setJob] = useState<Detail>()
  const [fault, setFault] = useState<Fault>()
  const isLive = connection.value === 'live'
  const isWaiting = useRef(false)
  isWaiting.current = job?.status === 'queued'
  // With each new connection: what may have been missed is asked for.
  useEffect(() => {
    let isCurrent = true
    setFault(undefined)
    setJob((before) => (before?.id === id ? before : undefined))
    const refresher = createRefresher(async () => {
      try {
        const found = await answerTo(api.jobs[':id'].$get({ param: { id } }))
        if (!isCurrent) return
        setJob(found)
        setFault(undefined)
      } catch (error) {
        if (isCurrent && faultOf(error).status !== 0) setFault(faultOf(error))
      }
    }, 500)
    void refresher.now()
    const unwatch = watchJobs(({ kind, job: seen }) => {
      if (seen.id !== id) return
      setJob((before) => before && { ...before, ...seen })
      if (kind !== 'progress') refresher.soon()
    })
    const poll = setInterval(() => {
      if (isWaiting.current && !document.hidden) refresher.soon()
    }, 5_000)
    return () => {
      isCurrent = false
      unwatch()
      clearInterval(poll)
    }
  }, [id, isLive])
  return { job, fault }
}
