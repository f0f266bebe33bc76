import { signal } from '@preact/signals'
import { useState } from 'preact/hooks'
import type { Job } from '../http/typed-client.ts'
import { linkTo } from './api.ts'
import { Again, Dice, Download, Film, Play } from './icons.tsx'
import {
  ActionButton,
  Ago,
  Badge,
  DownloadLink,
  Empty,
  Pager,
  Prompt,
  Section,
  Skeleton,
} from './parts.tsx'
import { Player } from './player.tsx'
import { jobHref } from './route.ts'
import { unsuccessful, type Video, videos } from './state.ts'
import { repeat } from './submission.ts'
import { bytes, isPortrait, statusInWords } from './words.ts'

const shown = signal<'videos' | 'others'>('videos')

export const Gallery = () => (
  <Section
    title="Videos"
    aside={
      <fieldset class="tabs">
        <legend class="hidden">Which jobs to show</legend>
        <Tab which="videos">Finished</Tab>
        <Tab which="others">Failed and canceled</Tab>
      </fieldset>
    }
  >
    {shown.value === 'videos' ? <Finished /> : <Others />}
  </Section>
)

const Tab = ({ which, children }: { which: typeof shown.value; children: string }) => (
  <label class="tab">
    <input
      type="radio"
      name="gallery"
      checked={shown.value === which}
      onChange={() => {
        shown.value = which
      }}
    />
    <span>{children}</span>
  </label>
)

function Finished() {
  const page = videos.page.value
  if (!page) return <Skeleton rows={4} kind="tile" />
  if (page.items.length === 0) {
    return (
      <Empty title="No videos yet">
        Write what you want to see and press Enter: your first video will be here when it is done.
      </Empty>
    )
  }
  return (
    <>
      <ul class="gallery">
        {page.items.map((video) => (
          <Tile key={video.id} video={video} />
        ))}
      </ul>
      <Pager pages={videos} what="videos" />
    </>
  )
}

function Tile({ video }: { video: Video }) {
  const [isPlaying, setPlaying] = useState(false)
  const { id, prompt, seed, filename } = video
  const name = prompt.slice(0, 80)
  return (
    <li class="tile">
      <div class="frame">
        {isPlaying ? (
          <Player id={id} url={video.file_url} label={name} autoPlay />
        ) : (
          <ActionButton class="poster" onClick={() => setPlaying(true)}>
            <Thumbnail url={video.thumbnail_url} size={video.size} />
            <span class="play">
              <Play />
            </span>
            <span class="length" aria-hidden="true">
              {video.duration_seconds.toFixed(1)} s
            </span>
            <span class="hidden">Play “{name}”</span>
          </ActionButton>
        )}
      </div>
      <div class="tile-body">
        <a class="job-link" href={jobHref(id)}>
          <Prompt>{prompt}</Prompt>
        </a>
        <p class="small muted spread">
          <span>
            Seed <span class="number">{seed}</span>
          </span>
          <Ago at={video.created_at} />
        </p>
      </div>
      <div class="tile-foot">
        <ActionButton class="button small" onClick={() => void repeat(id, 'same')}>
          <Again />
          Again
          <span class="hidden"> “{name}”</span>
        </ActionButton>
        <ActionButton class="button small" onClick={() => void repeat(id, 'new')}>
          <Dice />
          Vary seed
          <span class="hidden"> of “{name}”</span>
        </ActionButton>
        <DownloadLink
          look="small quiet icon-only"
          url={video.file_url}
          filename={filename}
          title={`Download, ${bytes(video.bytes)}`}
        >
          <Download />
          <span class="hidden">
            Download “{name}”, {bytes(video.bytes)}
          </span>
        </DownloadLink>
      </div>
    </li>
  )
}

function Thumbnail({ url, size }: { url: string; size: Job['size'] }) {
  const [isGone, setGone] = useState(false)
  if (isGone) {
    return (
      <span class="no-picture">
        <Film />
      </span>
    )
  }
  return (
    <img
      class={isPortrait(size) ? 'portrait' : ''}
      src={linkTo(url)}
      alt=""
      loading="lazy"
      decoding="async"
      onError={() => setGone(true)}
    />
  )
}

function Others() {
  const page = unsuccessful.page.value
  if (!page) return <Skeleton rows={3} kind="row" />
  if (page.items.length === 0) return <Empty title="Nothing has failed or been canceled" />
  return (
    <>
      <ul class="rows">
        {page.items.map((job) => (
          <li key={job.id} class="row">
            <div class="row-main">
              <a class="job-link" href={jobHref(job.id)}>
                <Prompt lines={1}>{job.prompt}</Prompt>
              </a>
              {job.error && <bdi class="small muted clamp-1">{job.error.message}</bdi>}
            </div>
            <div class="row-side small">
              <Badge tone={job.status === 'error' ? 'bad' : 'plain'}>
                {statusInWords[job.status]}
              </Badge>
              {job.ended_at !== null && (
                <span class="muted">
                  <Ago at={job.ended_at} />
                </span>
              )}
            </div>
            <ActionButton class="button small quiet" onClick={() => void repeat(job.id, 'same')}>
              Again
              <span class="hidden"> “{job.prompt.slice(0, 80)}”</span>
            </ActionButton>
          </li>
        ))}
      </ul>
      <Pager pages={unsuccessful} what="failed and canceled jobs" />
    </>
  )
}
