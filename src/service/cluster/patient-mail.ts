/**
 * Messages between nodes that may take about a second. Nobody waits for their effect, and they are most of the mail
 * of a large cluster.
 */
import type { NodeCommand } from '../../actors/node/node-protocol.ts'
import type { QueueNews } from '../../actors/queue/queue-protocol.ts'

/** To the queue. A reading has the time of its step, so it is true also later; the begin of a stage is shown at once. */
export function isPatientNews(news: QueueNews): boolean {
  switch (news.type) {
    case 'generationReported':
      return (news.reading.step ?? 0) > 1
    case 'roomChecked':
    case 'environmentChecked':
      return true
    default:
      return false
  }
}

const patientCommands: readonly NodeCommand['type'][] = [
  'discardWork',
  'forgetJob',
  'removeLeftOvers',
]

/** To every node, at the end of each job. */
export const isPatientCommand = ({ type }: Pick<NodeCommand, 'type'>): boolean =>
  patientCommands.includes(type)
