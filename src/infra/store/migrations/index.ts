import * as createJobAndAttempt from './001-create-job-and-attempt.ts'
import * as createGpu from './002-create-gpu.ts'
import * as traceAttempts from './003-trace-attempts-and-keep-estimates.ts'
import * as addOwner from './004-add-owner.ts'
import * as rememberMoreOfSubmissions from './005-remember-more-of-submissions.ts'
import * as createWebhook from './006-create-webhook.ts'
import * as expireAndPin from './007-expire-and-pin.ts'
import * as addMetadata from './008-add-metadata.ts'
import * as indexEnds from './009-index-ends.ts'
import * as keepCommands from './010-keep-commands.ts'
import * as knowRegistrants from './011-know-registrants.ts'
import * as accountForFiles from './012-account-for-files.ts'
import * as rememberTheClock from './013-remember-the-clock.ts'
import * as addNegativePrompt from './014-add-negative-prompt.ts'
import * as rememberStarts from './015-remember-starts.ts'
import * as indexColdRuns from './016-index-cold-runs.ts'
import * as formCluster from './017-form-cluster.ts'
import * as numberGpusOfNodes from './018-number-gpus-of-nodes.ts'
import * as shareResults from './019-share-results.ts'
import * as accountForLostAttempts from './020-account-for-lost-attempts.ts'
import * as drainNodes from './021-drain-nodes.ts'
import * as knowHomesOfGpus from './022-know-homes-of-gpus.ts'

/**
 * In order; a migration stays as it is once released. Nodes of the version before go on beside it: what they read and
 * write remains.
 */
export const migrations = {
  '001-create-job-and-attempt': createJobAndAttempt,
  '002-create-gpu': createGpu,
  '003-trace-attempts-and-keep-estimates': traceAttempts,
  '004-add-owner': addOwner,
  '005-remember-more-of-submissions': rememberMoreOfSubmissions,
  '006-create-webhook': createWebhook,
  '007-expire-and-pin': expireAndPin,
  '008-add-metadata': addMetadata,
  '009-index-ends': indexEnds,
  '010-keep-commands': keepCommands,
  '011-know-registrants': knowRegistrants,
  '012-account-for-files': accountForFiles,
  '013-remember-the-clock': rememberTheClock,
  '014-add-negative-prompt': addNegativePrompt,
  '015-remember-starts': rememberStarts,
  '016-index-cold-runs': indexColdRuns,
  '017-form-cluster': formCluster,
  '018-number-gpus-of-nodes': numberGpusOfNodes,
  '019-share-results': shareResults,
  '020-account-for-lost-attempts': accountForLostAttempts,
  '021-drain-nodes': drainNodes,
  '022-know-homes-of-gpus': knowHomesOfGpus,
}
