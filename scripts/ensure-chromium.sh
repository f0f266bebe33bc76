#!/bin/sh
# Tries to have a browser for the tests of pages: by apt where this user may. Without one they are skipped.
set -eu

has_browser() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then return 0; fi
  done
  return 1
}

if has_browser || { sh "$(dirname "$0")/apt-install.sh" chromium && has_browser; }; then exit 0; fi
echo 'There is no Chromium, and it could not be installed here: tests that open pages in a browser are skipped.' >&2
