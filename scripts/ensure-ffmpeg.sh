#!/bin/sh
# Makes sure that ffmpeg and ffprobe are there: by apt where this user may, else by saying what to do.
set -eu

has_both() { command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; }

has_both && exit 0
as_root=''
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root='sudo'; else as_root='none'; fi
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null; then
  echo '--- ffmpeg (by apt-get)'
  log=$(mktemp)
  if { $as_root apt-get update &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ffmpeg
  } >"$log" 2>&1 && has_both; then
    rm -f "$log"
    exit 0
  fi
  tail -n 20 "$log" >&2
  rm -f "$log"
fi
echo 'ffmpeg and ffprobe are needed and could not be installed here: install the package "ffmpeg" and try again.' >&2
exit 1
