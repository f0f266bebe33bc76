import type { ComponentChildren } from 'preact'
import { hasNodes } from '../contact.ts'
import { Clock, Section } from '../parts.tsx'
import { bytes, sizeInWords } from '../words.ts'
import type { Detail } from './use-job.ts'

export const Facts = ({ job }: { job: Detail }) => (
  <Section title="Details">
    <dl class="facts">
      <Fact name="Size">{sizeInWords(job.size)}</Fact>
      <Fact name="Frames">{job.frames}</Fact>
      <Fact name="Steps">{job.steps}</Fact>
      <Fact name="Seed">
        <span class="number">{job.seed}</span>
      </Fact>
      {job.negative_prompt !== null && (
        <Fact name="Negative prompt">
          <bdi class="break">{job.negative_prompt}</bdi>
        </Fact>
      )}
      <Fact name="Guidance">{job.guidance ?? 'the model’s own'}</Fact>
      <Fact name="Shift">{job.shift ?? 'the model’s own'}</Fact>
      {job.image && (
        <Fact name="First image">
          {job.image.type.toUpperCase()}, {job.image.width} × {job.image.height}
        </Fact>
      )}
      {job.gpu_id !== null && <Fact name="GPU">{job.gpu_id}</Fact>}
      {hasNodes.value && job.node !== null && (
        <Fact name="Node">
          <span class="break">{job.node}</span>
        </Fact>
      )}
      {job.owner !== null && <Fact name="Client">{job.owner}</Fact>}
      <Fact name="Submitted">
        <Clock at={job.submitted_at} />
      </Fact>
      {job.started_at !== null && (
        <Fact name="Begun">
          <Clock at={job.started_at} />
        </Fact>
      )}
      {job.ended_at !== null && (
        <Fact name="Ended">
          <Clock at={job.ended_at} />
        </Fact>
      )}
      {job.file && (
        <Fact name="Video">
          {job.file.duration_seconds.toFixed(1)} s, {bytes(job.file.bytes)}
        </Fact>
      )}
      {job.filename !== null && (
        <Fact name="File">
          <bdi class="break">{job.filename}</bdi>
        </Fact>
      )}
      <Fact name="Id">
        <code class="break">{job.id}</code>
      </Fact>
    </dl>
  </Section>
)

const Fact = ({ name, children }: { name: string; children: ComponentChildren }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
)
