#!/usr/bin/env bash
# Builds the wheel (from the sdist, as a release would be) and runs the tests against it in a clean environment:
# the only place where a missing data file shows, and where NeMo finds the rails the way a pip install has them.
# The third-party packages are .venv's own, hard-linked; the editable Railscribe among them is taken out.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python="$root/.venv/bin/python"
work=$(mktemp -d -p "$root/.venv")  # the same file system, for the links
trap 'rm -rf "$work"' EXIT

cd "$root"
mkdir "$work/tree"
git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$work/tree"
echo "building the wheel"
"$python" -m build --outdir "$work/dist" "$work/tree" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }

"$python" -m venv --without-pip "$work/clean"
site=$("$work/clean/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cp -al "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/." "$site"
rm -rf "$site"/__editable__*railscribe* "$site"/railscribe-*.dist-info
"$work/clean/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --no-index "$work"/dist/*.whl

cd "$work/tree"
rm -rf plugin/railscribe.egg-info build
"$work/clean/bin/python" - "$site" <<'PY'
import sys, railscribe, railscribe.audit.migrations, railscribe.rails_configs
for module in (railscribe, railscribe.audit.migrations, railscribe.rails_configs):
    assert module.__file__.startswith(sys.argv[1]), module.__file__
print("testing", railscribe.__version__, "from the wheel")
PY
# What a wheel can lack is a file: flows, templates, migrations, page parts, rows, weights. These tests read them all;
# the tree is tested whole by `make test`. By its function and not as `python -m pytest`, which would put the tree on the path. Of the tests that load the
# embedded guard's weights one is enough here: that they are in the wheel is what it shows.
test() {
  "$work/clean/bin/python" -c 'import sys; sys.path.remove(""); import pytest; sys.exit(pytest.main(sys.argv[1:]))' -q "$@"
}
if [ $# -gt 0 ]; then
  test "$@"
else
  test -m "not embedded" tests/test_packaging.py tests/test_public_api.py tests/cli/test_verbs.py tests/cli/test_policy.py tests/rails tests/evaluation \
    tests/audit/test_schema.py tests/audit/test_upgrade.py tests/policy/test_ready_policies.py \
    tests/policy/test_json_schema.py tests/training
  test tests/test_readme.py
fi
