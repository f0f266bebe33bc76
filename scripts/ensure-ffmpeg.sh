#!/bin/sh
# Makes sure that ffmpeg and ffprobe are there: by apt where this user may, else by saying what to do.
set -eu

has_both() { command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; }

if has_both || { sh "$(dirname "$0")/apt-install.sh" ffmpeg && has_both; }; then exit 0; fi
echo 'ffmpeg and ffprobe are needed and could not be installed here: install the package "ffmpeg" and try again.' >&2
exit 1
