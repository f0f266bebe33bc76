import type { Check } from './contact.ts'
import { isGone, knownAt, readiness } from './contact.ts'
import { exactClock } from './words.ts'

/** What keeps the service from working, above everything else. */
export function Banner() {
  if (isGone.value) return <Gone />
  if (readiness.value?.ready === false) return <NotReady checks={readiness.value.checks} />
  return null
}

const Gone = () => (
  <div class="banner" role="alert">
    <p>
      <strong>The service cannot be reached.</strong> This is how things were at{' '}
      {exactClock(knownAt.value)}. The page tries again by itself; generations may well go on.
    </p>
  </div>
)

function NotReady({ checks }: { checks: readonly Check[] }) {
  const failed = checks.filter(({ ok }) => !ok)
  return (
    <div class="banner" role="alert">
      <p>
        <strong>The service is not ready.</strong> A video that is submitted now is not made until
        this is put right
        {failed.length > 0 ? ':' : '. Operators find the reason under GET /ready.'}
      </p>
      {failed.length > 0 && (
        <dl>
          {failed.map(({ name, node, detail }) => (
            <div key={`${name} ${node}`}>
              <dt>
                {name.replaceAll('_', ' ')}
                {node && ` on ${node}`}
              </dt>
              {detail !== undefined && <dd>{detail}</dd>}
            </div>
          ))}
        </dl>
      )}
    </div>
  )
}
