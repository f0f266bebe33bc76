/** Refusals of PostgreSQL that last until an operator changes something, each with the remedy. */
import { DatabaseUnreachableError } from '../../../domain/errors.ts'
import { describeUrl } from './pool.ts'

type Refusal = Readonly<{ code: string; message: string }>

/** Message for the operator: the server, the cause and the remedy. `undefined`: waiting may help, or the cause is another one. */
export function explainRefusal(error: unknown, url: string): string | undefined {
  const cause = error instanceof DatabaseUnreachableError ? error.cause : error
  if (!(cause instanceof Error)) return undefined
  const { code } = cause as { code?: unknown }
  const refusal = { code: typeof code === 'string' ? code : '', message: cause.message }
  const explained = explain(refusal, url)
  return explained && `${describeUrl(url)}: ${explained}`
}

/** The role may not create tables in the schema. */
export const explainNoCreate = (schema: string, url: string): string =>
  `${describeUrl(url)}: ${permissionDenied(`permission denied for schema ${schema}`, url)}`

/** SQLSTATE codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
function explain({ code, message }: Refusal, url: string): string | undefined {
  if (/password must be a string$/.test(message)) {
    return 'no password in DATABASE_URL or ~/.pgpass. That file must have mode 0600.'
  }
  if (message === 'The server does not support SSL connections') {
    return `${message}. Set ssl = on at the server, or remove sslmode from DATABASE_URL.`
  }
  if (certificate.test(code)) {
    return (
      `${message}. Add sslrootcert=FILE with the certificate of the authority to DATABASE_URL, and use the host ` +
      'name that is in the certificate of the server.'
    )
  }
  if (code === '42501') return permissionDenied(message, url)
  if (code === '3D000') return `${message}. Correct DATABASE_URL, or create the database.`
  if (message.includes('pg_hba.conf')) {
    return `${message}. Correct DATABASE_URL, or add an entry to pg_hba.conf at the server.`
  }
  return /^28...$/.test(code) ? `${message}. Correct DATABASE_URL.` : undefined
}

/** Codes of Node. */
const certificate =
  /^(?:SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_(?:GET|VERIFY)_|CERT_|ERR_TLS_CERT_ALTNAME_)/

/** Since PostgreSQL 15, only the owner of a database may create tables in its schema `public`. */
function permissionDenied(message: string, url: string): string {
  const { username, pathname } = new URL(url)
  const role = quoted(decodeURIComponent(username) || 'ROLE')
  const database = quoted(decodeURIComponent(pathname.slice(1)) || 'DATABASE')
  return / for (?:schema|database) /.test(message)
    ? `${message}. The role must own the database: alter database ${database} owner to ${role}`
    : `${message}. The role must own the tables of the service: alter table … owner to ${role}`
}

const quoted = (name: string): string =>
  /^[a-z_][a-z0-9_]*$/i.test(name) ? name : `"${name.replaceAll('"', '""')}"`
