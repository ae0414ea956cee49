#!/usr/bin/env bash
# All that a GPU is needed for, in at most eight minutes, with what is installed; nothing is downloaded.
#
#   benchmarks/gpu_check.sh                    on the GPU
#   DEVICE=cpu benchmarks/gpu_check.sh         tiny sizes, to try this script itself
#   PYTHON=…  SHAPE=qwen2.5-vl-7b              another interpreter, another size of the duels
#
# Every part has a time limit and a line in the table at the end; none stops those after it.
# Exit code 1 if one failed.
set -u
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

if [ "$device" = cpu ]; then
  shape=tiny
  most_memory=1.25 # of a process, which holds more than tensors
  patience=3       # of the limits, which are for a GPU
else
  shape=${SHAPE:-qwen2.5-vl-3b}
  most_memory=1.08 # what the estimate itself leaves for the allocator's gaps
  patience=1
fi

table=""
failed=0

part() { # name, most seconds on a GPU, command
  local name=$1 limit=$(($2 * patience)) start=$SECONDS code state
  shift 2
  printf '\n== %s\n' "$name"
  timeout --kill-after=20 "$limit" "$@" 2>&1 | tee "$work/said"
  code=${PIPESTATUS[0]}
  if [ "$code" = 0 ]; then
    state=PASS
  else
    state=FAIL failed=1
    case $code in 124 | 130 | 137) state="FAIL (stopped after $limit s)" ;; esac
  fi
  printf '%s: %s, %d s\n' "$name" "$state" $((SECONDS - start))
  table+=$(printf '%-46s %4d s  %s' "$name" $((SECONDS - start)) "$state")$'\n'
}

environment='
import importlib.metadata as metadata, sys, torch
def version(name):
    try: return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError: return f"no {name}"
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
names = ("torch", "transformers", "torchvision", "peft", "trl")
print("; ".join([gpu, f"CUDA {torch.version.cuda}", f"Python {sys.version.split()[0]}", *map(version, names)]))
sys.exit(sys.argv[1] != "cpu" and not torch.cuda.is_available())
'
duel=(--quick --cases 1 --device "$device" --shape "$shape" --step-limit 45)

part "environment" 25 "$python" -c "$environment" "$device"
part "exactness, float32" 45 "$python" benchmarks/exactness.py --device "$device" --dtype float32
part "exactness, bfloat16" 45 "$python" benchmarks/exactness.py --device "$device" --dtype bfloat16
part "a run over two tasks" 60 "$python" benchmarks/two_tasks.py "$work" run --device "$device"
part "killed in a stage and resumed" 70 "$python" benchmarks/two_tasks.py "$work" resume --device "$device"
part "GRPO against TRL" 110 "$python" benchmarks/rft_step.py "${duel[@]}"
part "SFT against TRL" 60 "$python" benchmarks/sft_step.py "${duel[@]}"
part "memory against its estimate" 50 \
  "$python" benchmarks/rft_step.py "${duel[@]}" --arms holdfast --most-memory "$most_memory"

printf '\n== summary (%s, %s), %d s\n%s' "$device" "$shape" "$SECONDS" "$table"
exit "$failed"
