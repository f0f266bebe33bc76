/** Checked by the compiler alone: a description without a role is an error. */
import { route } from '../../../src/http/request/route.ts'

const described = { id: 'getNothing', tag: 'service', summary: 'Get nothing', answers: {} } as const

route({ ...described, access: 'client' })

// @ts-expect-error: `access` is missing.
route(described)

// @ts-expect-error: `access` is none of the roles.
route({ ...described, access: 'everybody' })
