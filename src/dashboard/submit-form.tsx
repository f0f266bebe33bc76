import { useEffect, useId, useRef, useState } from 'preact/hooks'
import type { Job } from '../http/typed-client.ts'
import { type Fault, faultOf } from './api.ts'
import { isGone } from './contact.ts'
import { Cross } from './icons.tsx'
import { notify } from './notices.ts'
import { outlookInWords } from './outlook.ts'
import { ActionButton, ErrorNote } from './parts.tsx'
import { nextJob } from './state.ts'
import { type Draft, newKey, submit, wanted } from './submission.ts'
import { duration, isPortrait } from './words.ts'

/** As the service has it. */
const maxPromptLength = 32_000

const sizes = [
  { size: '1280x720', name: 'Landscape' },
  { size: '720x1280', name: 'Portrait' },
] as const satisfies readonly { size: Job['size']; name: string }[]

/** What the form holds, as it is typed. */
type Typed = Readonly<{
  prompt: string
  negativePrompt: string
  size: Job['size']
  steps: string
  seed: string
  image?: File
  /** Of a job that is to be made again: what the form has no field for. */
  rest?: Partial<Draft>
}>

const blank: Typed = { prompt: '', negativePrompt: '', size: '1280x720', steps: '', seed: '' }

export function SubmitForm() {
  const [typed, setTyped] = useState(blank)
  const [fault, setFault] = useState<Fault>()
  const [isBusy, setBusy] = useState(false)
  const [isOpen, setOpen] = useState(false)
  const key = useRef(newKey())
  const form = useRef<HTMLFormElement>(null)
  const prompt = useRef<HTMLTextAreaElement>(null)
  const id = useId()

  const change = (part: Partial<Typed>) => {
    // Another request, and so another key.
    key.current = newKey()
    setFault(undefined)
    setTyped((before) => ({ ...before, ...part }))
  }

  useEffect(
    () =>
      wanted.subscribe((draft) => {
        if (!draft) return
        const { prompt: text, negative_prompt: negativePrompt = '', ...others } = draft
        const { size, steps, seed, ...rest } = others
        const numbers = { steps: written(steps), seed: written(seed) }
        change({ prompt: text, negativePrompt, size, ...numbers, rest })
        setOpen(true)
        wanted.value = undefined
        prompt.current?.focus()
      }),
    [],
  )

  async function send(event?: Event): Promise<void> {
    event?.preventDefault()
    if (isBusy || isGone.value || !form.current?.reportValidity()) return
    setBusy(true)
    setFault(undefined)
    try {
      const accepted = await submit(draftIn(typed), key.current, typed.image)
      const place = accepted.queue_position === null ? '' : ` at place ${accepted.queue_position}`
      const eta = accepted.eta_seconds === null ? '' : `: about ${duration(accepted.eta_seconds)}`
      const about = { id: accepted.id, prompt: typed.prompt }
      notify({ tone: 'good', text: `Queued${place}${eta}`, job: about })
      key.current = newKey()
      const { image: _, ...kept } = typed
      setTyped({ ...kept, prompt: '', seed: '' })
      prompt.current?.focus()
    } catch (error) {
      const found = faultOf(error)
      setFault(found)
      if (found.field !== undefined && found.field !== 'prompt') setOpen(true)
    } finally {
      setBusy(false)
    }
  }

  const errorId = `${id}-error`
  const invalid = (field: string) =>
    fault?.field === field ? { 'aria-invalid': true, 'aria-describedby': errorId } : {}
  const isLong = typed.prompt.length > 2_000

  return (
    <form class="panel submit" ref={form} onSubmit={send} aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`}>New video</h2>
      <label class="field">
        <span class="label">Prompt</span>
        <textarea
          ref={prompt}
          class="input"
          name="prompt"
          required
          rows={4}
          dir="auto"
          maxLength={maxPromptLength}
          placeholder="A red fox walks through fresh snow at sunrise, slow camera pan"
          value={typed.prompt}
          // A line break means a space to the model, and is refused by the service.
          onInput={({ currentTarget }) => change({ prompt: inOneLine(currentTarget.value) })}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.isComposing) void send(event)
          }}
          {...invalid('prompt')}
        />
        {isLong && (
          <span class="hint">
            {typed.prompt.length.toLocaleString()} characters. The model reads about the first 512
            words or pieces of words.
          </span>
        )}
      </label>

      <fieldset class="field">
        <legend class="label">Orientation</legend>
        <div class="segments">
          {sizes.map(({ size, name }) => (
            <label key={size} class="segment">
              <input
                type="radio"
                name="size"
                value={size}
                checked={isPortrait(typed.size) === isPortrait(size)}
                onChange={() => change({ size })}
              />
              <span class={`shape ${name.toLowerCase()}`} aria-hidden="true" />
              <span>
                {name} <span class="muted">{size.replace('x', '×')}</span>
              </span>
            </label>
          ))}
        </div>
      </fieldset>

      <details
        class="more"
        open={isOpen}
        onToggle={({ currentTarget }) => setOpen(currentTarget.open)}
      >
        <summary>More options</summary>
        <label class="field">
          <span class="label">Negative prompt</span>
          <textarea
            class="input"
            name="negative_prompt"
            rows={2}
            dir="auto"
            maxLength={maxPromptLength}
            placeholder="the model’s own"
            value={typed.negativePrompt}
            onInput={({ currentTarget }) =>
              change({ negativePrompt: inOneLine(currentTarget.value) })
            }
            {...invalid('negative_prompt')}
          />
        </label>
        <div class="pair">
          <label class="field">
            <span class="label">Steps</span>
            <input
              class="input"
              name="steps"
              type="number"
              inputMode="numeric"
              min={1}
              max={200}
              step={1}
              placeholder="the model’s own"
              value={typed.steps}
              onInput={({ currentTarget }) => change({ steps: currentTarget.value })}
              {...invalid('steps')}
            />
          </label>
          <label class="field">
            <span class="label">Seed</span>
            <input
              class="input"
              name="seed"
              type="number"
              inputMode="numeric"
              min={0}
              max={Number.MAX_SAFE_INTEGER}
              step={1}
              placeholder="random"
              value={typed.seed}
              onInput={({ currentTarget }) => change({ seed: currentTarget.value })}
              {...invalid('seed')}
            />
          </label>
        </div>
        <ImageField
          image={typed.image}
          onChange={(image) => {
            const { image: _, ...rest } = typed
            change({})
            setTyped(image ? { ...rest, image } : rest)
          }}
          described={invalid('image')}
        />
      </details>

      {fault && <ErrorNote id={errorId}>{fault.text}</ErrorNote>}
      <ActionButton type="submit" class="button primary wide" disabled={isBusy}>
        {isBusy ? 'Submitting…' : 'Generate'}
      </ActionButton>
      <Outlook />
    </form>
  )
}

/** What a job that came now would wait behind. */
const Outlook = () => (
  <p class="hint">{nextJob.value && !isGone.value ? outlookInWords(nextJob.value) : ' '}</p>
)

function ImageField({
  image,
  onChange,
  described,
}: {
  image: File | undefined
  onChange(image: File | undefined): void
  described: object
}) {
  const [preview, setPreview] = useState<string>()
  const input = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (!image) {
      setPreview(undefined)
      if (input.current) input.current.value = ''
      return
    }
    const url = URL.createObjectURL(image)
    setPreview(url)
    return () => URL.revokeObjectURL(url)
  }, [image])
  return (
    <div class="field">
      <label class="label" for="first-image">
        First image <span class="muted">PNG, JPEG or WebP, at most 20 MiB</span>
      </label>
      <input
        ref={input}
        id="first-image"
        class="file"
        name="image"
        type="file"
        accept="image/png,image/jpeg,image/webp"
        onChange={({ currentTarget }) => onChange(currentTarget.files?.[0])}
        {...described}
      />
      {image && preview !== undefined && (
        <div class="preview">
          <img src={preview} alt="" />
          <bdi class="clamp-1">{image.name}</bdi>
          <button type="button" class="button quiet icon-only" onClick={() => onChange(undefined)}>
            <Cross />
            <span class="hidden">Remove the image</span>
          </button>
        </div>
      )}
    </div>
  )
}

function draftIn({ prompt, negativePrompt, size, steps, seed, rest }: Typed): Draft {
  return {
    ...rest,
    prompt,
    ...(negativePrompt.trim() !== '' && { negative_prompt: negativePrompt }),
    size,
    ...(steps !== '' && { steps: Number(steps) }),
    ...(seed !== '' && { seed: Number(seed) }),
  }
}

const inOneLine = (text: string): string => text.replaceAll(/[\r\n\t]+/g, ' ')

const written = (value: number | undefined): string => (value === undefined ? '' : String(value))
