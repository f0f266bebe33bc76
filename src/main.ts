/** Entry point of the service: `npm start`, the systemd unit and the image run this file. */
import { runService } from './service/run.ts'

await runService()
