#!/bin/sh
# apt-install.sh PACKAGE: installs a package where this user may. Ends with 1 where that is not possible.
set -eu

package=$1
as_root=''
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root='sudo'; else exit 1; fi
fi
command -v apt-get >/dev/null || exit 1
echo "--- $package (by apt-get)"
log=$(mktemp)
if { $as_root apt-get update &&
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$package"
} >"$log" 2>&1; then
  rm -f "$log"
  exit 0
fi
tail -n 20 "$log" >&2
rm -f "$log"
exit 1
