import type { DiskEffect, DiskNews, DiskState } from './disk-protocol.ts'
import type { RetentionEffect, RetentionMessage, RetentionState } from './retention-protocol.ts'

export type JanitorMessage = DiskNews | RetentionMessage

/** Two things that a janitor has in mind, and neither has to do with the other. */
export type JanitorState = Readonly<{ disks: DiskState; retention: RetentionState }>

export type JanitorEffect = DiskEffect | RetentionEffect
