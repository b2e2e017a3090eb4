#!/usr/bin/env bash
# Builds the wheel from the sdist and runs the tests against it in a clean environment: the only place where a
# missing data file shows. Heavy packages come from .venv's site-packages, which the clean environment looks into
# last; Railscribe itself must come from the wheel, and the script makes sure that it does.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$root" archive --format=tar HEAD 2>/dev/null | tar -x -C "$work" || cp -r "$root/." "$work"
cd "$work"
"$root/.venv/bin/python" -m build --outdir "$work/dist" "$work" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }
"$root/.venv/bin/python" -m venv --without-pip "$work/clean"
site=$("$work/clean/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$root/.venv/bin/python" -m pip --quiet install --no-deps --no-compile --target "$site" "$work"/dist/*.whl
