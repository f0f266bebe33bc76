/** `wanctl wait`: for the video of a job. */
import { targetOf } from '../client/download.ts'
import { findJobId } from '../client/job-reference.ts'
import { connect } from '../client/service.ts'
import { type WaitOptions, waitForVideo } from '../client/wait-for-video.ts'

export async function wait(reference: string, options: WaitOptions): Promise<void> {
  const { url, output, force = false } = options
  const api = connect({ url })
  const target = output === undefined ? undefined : await targetOf(output, force)
  await waitForVideo(api, await findJobId(api, reference), target, options)
}
