/** Expressions that SQLite and PostgreSQL write in different ways. */
import {
  type Expression,
  type Kysely,
  PostgresAdapter,
  type RawBuilder,
  type ReferenceExpression,
  type SqlBool,
  sql,
} from 'kysely'
import type { Database } from './schema.ts'

export type Dialect = Readonly<{
  isPostgres: boolean
  /** Condition: a text has another in it, in the same case. */
  contains(column: string, text: string): Expression<SqlBool>
  /** Condition: a column has one of these file names, whatever the case of their ASCII letters. */
  isFileName(column: string, names: readonly string[]): Expression<SqlBool>
  /** Condition: two columns have the same file name. */
  isSameFileName(one: string, other: string): Expression<SqlBool>
  /** Number at a path inside a column with JSON; null: there is none. */
  numberIn(column: string, ...path: readonly string[]): RawBuilder<number | null>
  textIn(column: string, ...path: readonly string[]): RawBuilder<string | null>
  /** The smaller and the larger of two numbers. */
  least(one: RawBuilder<unknown>, other: RawBuilder<unknown>): RawBuilder<number>
  greatest(one: RawBuilder<unknown>, other: RawBuilder<unknown>): RawBuilder<number>
  /** A subquery with these texts, as one parameter: the number of parameters is limited. */
  listed(values: readonly string[]): RawBuilder<string>
  /** A column, such that SQLite does not take it for a reason to choose an index. */
  unindexed<Value>(column: ReferenceExpression<Database, 'job'> & string): RawBuilder<Value>
}>

const sqlite: Dialect = {
  isPostgres: false,
  contains: (column, text) => sql<SqlBool>`instr(${sql.ref(column)}, ${text}) > 0`,
  // The column compares without case by itself.
  isFileName: (column, names) => sql<SqlBool>`${sql.ref(column)} in ${listOf(names)}`,
  isSameFileName: (one, other) => sql<SqlBool>`${sql.ref(one)} = ${sql.ref(other)}`,
  numberIn: (column, ...path) => sql`json_extract(${sql.ref(column)}, ${pathText(path)})`,
  textIn: (column, ...path) => sql`json_extract(${sql.ref(column)}, ${pathText(path)})`,
  least: (one, other) => sql`min(${one}, ${other})`,
  greatest: (one, other) => sql`max(${one}, ${other})`,
  listed: (values) => sql`(select value from json_each(${JSON.stringify(values)}))`,
  unindexed: (column) => sql`+${sql.ref(column)}`,
}

/** In the text, not as a parameter: SQLite knows an expression again by its text only. */
const pathText = (path: readonly string[]) => sql.lit(`$.${path.join('.')}`)

const postgres: Dialect = {
  isPostgres: true,
  contains: (column, text) => sql<SqlBool>`strpos(${sql.ref(column)}, ${text}) > 0`,
  isFileName: (column, names) =>
    sql<SqlBool>`${fileKey(column)} in ${listOf(names.map(lowerAscii))}`,
  isSameFileName: (one, other) => sql<SqlBool>`${fileKey(one)} = ${fileKey(other)}`,
  numberIn: (column, ...path) =>
    sql`(${sql.ref(column)}::json #>> ${sql.lit(`{${path.join(',')}}`)})::double precision`,
  textIn: (column, ...path) =>
    sql`(${sql.ref(column)}::json #>> ${sql.lit(`{${path.join(',')}}`)})`,
  least: (one, other) => sql`least(${one}, ${other})`,
  greatest: (one, other) => sql`greatest(${one}, ${other})`,
  listed: (values) =>
    sql`(select json_array_elements_text(cast(${JSON.stringify(values)} as json)))`,
  unindexed: (column) => sql`${sql.ref(column)}`,
}

/** PostgreSQL knows no empty list. */
const listOf = (texts: readonly string[]) =>
  texts.length === 0 ? sql`(null)` : sql`(${sql.join(texts)})`

/** As its indexes have it. In the locale C only ASCII letters have a case. */
const fileKey = (column: string) => sql`lower(${sql.ref(column)} collate "C")`

const lowerAscii = (text: string): string =>
  text.replace(/[A-Z]/g, (letter) => letter.toLowerCase())

export const isPostgres = <Tables>(db: Kysely<Tables>): boolean =>
  db.getExecutor().adapter instanceof PostgresAdapter

export const dialectOf = <Tables>(db: Kysely<Tables>): Dialect =>
  isPostgres(db) ? postgres : sqlite
