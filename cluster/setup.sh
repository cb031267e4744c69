#!/bin/bash
# Install the project into ~/lstcl (or $1), a virtual environment of its own; run again, it only updates.
# For head and workers alike; $2 is the folder of the code, by default ~/lstcl_platform, where `ray up` puts it.
set -euo pipefail
environment=${1:-$HOME/lstcl}
code=${2:-$HOME/lstcl_platform}

python=
for candidate in python3.13 python3.12 python3.11; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import ensurepip' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [[ -z $python ]]; then
  echo "no Python from 3.11 on with venv: choose an image that has one, such as Ubuntu 24.04 with python3-venv" >&2
  exit 1
fi
[[ -x $environment/bin/python ]] || "$python" -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check "$code[postgresql]"
"$environment/bin/lstcl-platform" --help >/dev/null
