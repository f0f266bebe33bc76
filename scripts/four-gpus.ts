/** An nvidia-smi for pictures: four cards, three of them at work. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const script = `#!/bin/sh
uuid() { echo "GPU-8932f937-d72c-4106-c12f-20bd9faed9f$1"; }
case "$1" in
-L)
  for i in 0 1 2 3; do echo "GPU $i: NVIDIA GeForce RTX 4090 (UUID: $(uuid $i))"; done ;;
--query-gpu=index,uuid,memory.used,memory.total,utilization.gpu,temperature.gpu)
  echo "0, $(uuid 0), 22310, 24564, 98, 71"
  echo "1, $(uuid 1), 22288, 24564, 97, 68"
  echo "2, $(uuid 2), 21904, 24564, 99, 74"
  echo "3, $(uuid 3), 412, 24564, 0, 38" ;;
*)
  echo "this nvidia-smi does not know $1" >&2
  exit 2 ;;
esac
`

/** Writes it into the directory, which is to be put on the PATH. */
export function installFourGpus(directory: string): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'nvidia-smi'), script, { mode: 0o755 })
}
