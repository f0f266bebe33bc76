/** The part of a description that each route of one job has. */
import * as v from 'valibot'
import { IdParam } from '../../request/parameters.ts'

export const ofOneJob = {
  tag: 'jobs',
  params: v.object({ id: IdParam }),
  refusals: ['job_not_found', 'job_expired'],
} as const
