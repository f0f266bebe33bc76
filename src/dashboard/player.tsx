import { useState } from 'preact/hooks'
import { answerTo, api, linkTo } from './api.ts'

/**
 * Links to files end after a while: one that has is asked for anew, once. No captions: the videos
 * have no sound.
 */
export function Player({
  id,
  url,
  label,
  autoPlay = false,
}: {
  id: string
  url: string
  label: string
  autoPlay?: boolean
}) {
  const [link, setLink] = useState(url)
  const [tries, setTries] = useState(0)
  if (tries > 1) {
    return (
      <p class="player-gone">
        This video cannot be played here. It may have been deleted; else download it and try a
        player.
      </p>
    )
  }

  async function another(): Promise<void> {
    setTries(tries + 1)
    if (tries > 0) return
    const job = await answerTo(api.status[':id'].$get({ param: { id } })).catch(() => undefined)
    if (job?.file_url) setLink(job.file_url)
    else setTries(2)
  }

  return (
    // biome-ignore lint/a11y/useMediaCaption: there is nothing to hear
    <video
      class="player"
      src={linkTo(link)}
      controls
      loop
      playsInline
      autoPlay={autoPlay}
      preload="metadata"
      aria-label={label}
      onError={() => void another()}
    />
  )
}
