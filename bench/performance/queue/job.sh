#!/bin/sh
# The work of one job as work.ts has it done, for a queue whose jobs are commands.
#
#   job.sh DIRECTORY RESULT PYTHON SHIM    (DIRECTORY holds spec.json)
set -eu
cd "$1"
"$3" -I -S "$4" .
grep -q '"code": 0' exit.json
count() {
  ffprobe -v error -select_streams v:0 -count_packets -of json \
    -show_entries stream=width,height,nb_read_packets:format=duration,size:format_tags=comment \
    "file:$1" > facts.json
}
count video.mp4
ffmpeg -nostdin -hide_banner -v error -y -i file:video.mp4 -map 0:v:0 -map '0:a?' -c:v copy \
  -c:a copy -metadata comment=job -movflags +faststart -f mp4 "file:$2.unfinished"
sync "$2.unfinished"
count "$2.unfinished"
mv -n "$2.unfinished" "$2"
sync "$(dirname "$2")"
cd /
rm -r "$1"
