export type Disk = Readonly<{ place: DiskPlace; path: string; freeBytes: number }>

/** What is written there. */
export const diskPlaces = ['work', 'results', 'logs', 'database'] as const

export type DiskPlace = (typeof diskPlaces)[number]
