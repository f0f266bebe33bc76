/** Where on the page we are: in its address behind `#`, so that a link to a job can be sent. */
import { signal } from '@preact/signals'

export type Place = Readonly<{ at: 'overview' } | { at: 'job'; id: string }>

export const place = signal(placeIn(location.hash))

addEventListener('hashchange', () => {
  place.value = placeIn(location.hash)
})

export const jobHref = (id: string): string => `#/jobs/${id}`

function placeIn(hash: string): Place {
  const id = /^#\/jobs\/([0-9a-f-]{36})$/i.exec(hash)?.[1]
  return id === undefined ? { at: 'overview' } : { at: 'job', id }
}
