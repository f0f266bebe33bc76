/** Facts of a video, as ffprobe prints them. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const facts = 'stream=codec_name,width,height,r_frame_rate,nb_frames:format=duration,size'

export async function probe(file: string): Promise<string> {
  const args = ['-v', 'error', '-select_streams', 'v:0', '-show_entries', facts, '-of']
  const { stdout } = await promisify(execFile)('ffprobe', [...args, 'default=nw=1', file])
  return stdout.trim()
}
