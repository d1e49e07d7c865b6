#!/bin/sh
# Installs OncoFed from this folder, without internet. Research use only - not a medical device.
#   ./install.sh [--prefix /opt/oncofed] [--python python3.11] [--dry-run]
# Exit codes: 0 ok, 2 usage, 3 this machine does not fit, 5 a file was changed.
set -eu

prefix=/opt/oncofed
python=
dry=
while [ $# -gt 0 ]; do
  case "$1" in
    --prefix) [ $# -gt 1 ] || { echo "Error: --prefix needs a folder" >&2; exit 2; }; prefix=$2; shift 2 ;;
    --python) [ $# -gt 1 ] || { echo "Error: --python needs a program" >&2; exit 2; }; python=$2; shift 2 ;;
    --dry-run) dry=1; shift ;;
    *) sed -n '3s/^# *//p' "$0" >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")"

fail() { echo "Error: $2" >&2; exit "$1"; }
run() { if [ -n "$dry" ]; then echo "would run: $*"; else "$@"; fi; }

sha256sum --check --strict --quiet SHA256SUMS >&2 ||
  fail 5 "a file of this kit was changed or is missing; get the kit again, and compare its SHA-256 by telephone"
for file in wheels/*; do
  awk -v file="$file" '$2 == file { found = 1 } END { exit !found }' SHA256SUMS || fail 5 "$file does not belong to this kit; unpack it again into an empty folder"
done

read -r version role wanted platform < VERSION
[ -n "$python" ] || python=python$wanted
command -v "$python" >/dev/null || fail 3 "there is no $python; install Python $wanted, or name it with --python"
found=$("$python" -c 'import sys, sysconfig; print("%d.%d" % sys.version_info[:2], sysconfig.get_platform())')
[ "$found" = "$wanted $platform" ] || fail 3 "the kit is for Python $wanted on $platform, $python is $found"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail 3 "$python has no venv; install python$wanted-venv"
if [ -e "$prefix" ] && [ ! -e "$prefix/bin/oncofed-site" ] && [ -n "$(ls -A "$prefix")" ]; then
  fail 3 "$prefix holds something that is not OncoFed, and would be emptied; choose another --prefix"
fi

run "$python" -m venv --clear "$prefix"
run "$prefix/bin/python" -m pip --isolated install --quiet --no-index --find-links wheels --no-deps --require-hashes \
  --disable-pip-version-check -r requirements.txt
run mkdir -p "$prefix/share"
run cp -R share/. "$prefix/share"
run "$prefix/bin/python" -m pip check --disable-pip-version-check
echo "OncoFed $version for a $role is in $prefix. Next: $prefix/share/README-$role.md" >&2
