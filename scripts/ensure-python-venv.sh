#!/bin/sh
# Tries to have what `python3 -m venv` needs, which Debian ships as a package of its own. Without it conformance tests
# are skipped.
set -eu

has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

if has_venv || { sh "$(dirname "$0")/apt-install.sh" python3-venv && has_venv; }; then exit 0; fi
echo 'python3 has no venv, and it could not be installed here: install the package "python3-venv".' >&2
