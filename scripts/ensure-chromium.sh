#!/bin/sh
# Tries to have a browser for the tests of pages: by apt where this user may. Without one they are skipped.
set -eu

for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
as_root=''
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root='sudo'; else as_root='none'; fi
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null; then
  echo '--- chromium (by apt-get)'
  log=$(mktemp)
  if { $as_root apt-get update &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium
  } >"$log" 2>&1 && command -v chromium >/dev/null; then
    rm -f "$log"
    exit 0
  fi
  tail -n 5 "$log" >&2
  rm -f "$log"
fi
echo 'There is no Chromium, and it could not be installed here: tests that open pages in a browser are skipped.' >&2
