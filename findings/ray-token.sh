#!/usr/bin/env bash
# Ray 2.60: a plain ray.init() leaves a token in ~/.ray. From then on `ray start --head` on that machine, which asked
# for none before, asks its clients for it, while ray.init(address=...) sends none unless RAY_AUTH_MODE=token is set:
# the same two commands that worked before one script was run do not connect after it.
# Exits with 0 while that is so. Takes about 80 MB and the package index; Holdfast has no part in it.
set -euo pipefail
RAY=2.60.0

folder=$(mktemp -d /tmp/ray-XXXXXX)
export HOME="$folder/home" RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH RAY_ADDRESS
mkdir "$HOME"
"${PYTHON:-python3}" -m venv "$folder/venv"
export PATH="$folder/venv/bin:$PATH"
trap 'ray stop --force >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
python -m pip install --disable-pip-version-check --quiet "ray==$RAY"
cd "$folder" # nothing of a checkout is imported
python -c "import ray; print('ray', ray.__version__)"

connects() { # start a head, and connect to it in a process of its own
    ray start --head --port 6399 --num-cpus 1 --include-dashboard=false >"$folder/start.log" 2>&1
    local outcome=0
    timeout 60 python -c "import ray; ray.init('127.0.0.1:6399')" >"$folder/init.log" 2>&1 || outcome=$?
    ray stop --force >/dev/null 2>&1
    return $outcome
}

if connects; then before=yes; else before=no; fi
echo "Before: a client connects to 'ray start --head': $before."
python -c "import ray; ray.init(num_cpus=1, include_dashboard=False); ray.shutdown()" >/dev/null 2>&1
echo "ray.init() left: $(cd "$HOME" && ls .ray)."
if connects; then after=yes; else after=no; fi
echo "After: it connects: $after."
export RAY_AUTH_MODE=token
if connects; then token=yes; else token=no; fi
echo "With RAY_AUTH_MODE=token: $token."
[ "$before $after $token" = "yes no yes" ] || { echo "Changed."; exit 1; }
