#!/usr/bin/env bash
# The whole test suite and the demo in each supported environment, every one a virtual environment of its own.
#
#     tools/test_envs.sh [pinned|torchvision|newest|no-peft]...      all unless some are named
#
#     pinned        the versions of constraints.txt; no torchvision
#     torchvision   the same, but for a torch and a torchvision that belong together
#     newest        the newest release of everything that pyproject.toml admits
#     no-peft       the same without peft, with which the newest transformers does not go
#
# Logs and environments lie in $ENVS; torch for a GPU makes each of the last three take about 6 GB. A failing
# environment does not stop the others; the exit code is 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."

TORCH=2.14.1
TORCHVISION=0.29.1
PYTHON=${PYTHON:-python3}
WORKERS=${WORKERS:-2}
ENVS=${ENVS:-.venvs}
export OMP_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH # what is tested is what pip installed

install() { # ENVIRONMENT PYTHON
    local pip=("$2" -m pip install --quiet)
    case $1 in
        pinned) "${pip[@]}" -c constraints.txt -e ".[dev]" ;;
        torchvision)
            grep -v '^torch==' constraints.txt >"$ENVS/torchvision.constraints.txt"
            "${pip[@]}" -c "$ENVS/torchvision.constraints.txt" -e ".[dev]" \
                "torch==$TORCH" "torchvision==$TORCHVISION"
            ;;
        newest) "${pip[@]}" --upgrade --upgrade-strategy eager -e ".[dev]" ;;
        no-peft)
            "${pip[@]}" --upgrade --upgrade-strategy eager -e ".[dev]" &&
                "$2" -m pip uninstall --quiet --yes peft &&
                "${pip[@]}" --upgrade --upgrade-strategy eager -e .
            ;;
    esac
}

step() { # ENVIRONMENT STEP COMMAND...: run it into a log; say how it went
    local log="$ENVS/$1-$2.log" start=$SECONDS outcome=ok
    "${@:3}" >"$log" 2>&1 || outcome=FAILED
    ROWS+=("$(printf '%-12s %-8s %-7s %4d s   %s' "$1" "$2" "$outcome" $((SECONDS - start)) "$log")")
    echo "${ROWS[-1]}"
    [ "$outcome" = ok ]
}

test_environment() { # ENVIRONMENT
    local python="$ENVS/$1/bin/python" failed=0
    step "$1" install make_and_install "$1" || return 1
    "$python" -m pip freeze >"$ENVS/$1.versions.txt"
    step "$1" tests "$python" -m pytest -n "$WORKERS" -m "not cluster" || failed=1
    rm -rf "$ENVS/$1-runs"
    step "$1" demo "$python" -m holdfast run configs/embedded/demo.yaml --workers "$WORKERS" \
        "output=$ENVS/$1-runs/demo" "store=$ENVS/$1-runs/store" || failed=1
    return $failed
}

make_and_install() { # ENVIRONMENT
    [ -x "$ENVS/$1/bin/python" ] || "$PYTHON" -m venv "$ENVS/$1" || return 1
    install "$1" "$ENVS/$1/bin/python"
}

ROWS=()
bad=0
mkdir -p "$ENVS"
[ $# -gt 0 ] || set -- pinned torchvision newest no-peft
for name in "$@"; do
    case $name in
        pinned | torchvision | newest | no-peft) test_environment "$name" || bad=1 ;;
        *)
            echo "there is no environment '$name'; there are pinned, torchvision, newest and no-peft" >&2
            exit 2
            ;;
    esac
done

echo
printf '%-12s %-8s %-7s %6s   %s\n' environment step outcome time log
printf '%s\n' "${ROWS[@]}"
for name in "$@"; do
    versions=$(grep -E '^(torch|torchvision|transformers|peft|datasets|numpy)==' "$ENVS/$name.versions.txt" 2>/dev/null)
    echo "$name: $(echo $versions)"
done
exit $bad
