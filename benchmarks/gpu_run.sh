#!/usr/bin/env bash
# Everything that should be measured on a real GPU, most valuable first, in 25 minutes at most; results as it goes.
#
#     benchmarks/gpu_run.sh [OUT]      # benchmarks/results/gpu by default
#
# Needs `pip install -e '.[benchmark]' 'jax[cuda12]'` in the version of jax that is installed. A step that fails or takes
# too long is noted in OUT/steps.txt, and the next one begins. SECONDS_ALL, BATCHES, TASKS, LENGTH, ROWS and GENERATE_BATCH make
# it smaller: the tests run it on a CPU.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results/gpu}
mkdir -p "$out"
end=$((SECONDS + ${SECONDS_ALL:-1500}))
all="CheetahRun CartpoleBalance WalkerRun HumanoidRun BallInCup HopperHop FingerSpin FingerTurnEasy ReacherEasy
    ReacherHard SwimmerSwimmer6 AcrobotSwingup PendulumSwingup PointMass FishSwim"
read -ra tasks <<< "${TASKS:-$(echo $all)}"
read -ra batches <<< "${BATCHES:-4096 32768}"
length=${LENGTH:-1000} rows=${ROWS:-256}

step() { # NAME SECONDS COMMAND…: run a command for as long as it may take
    local name=$1 left=$((end - SECONDS)) limit=$2
    shift 2
    [ "$limit" -lt "$left" ] || limit=$left
    if [ "$limit" -le 0 ]; then echo "$name: no time left" >> "$out/steps.txt"; return; fi
    local began=$SECONDS
    timeout --kill-after=10 "$limit" "$@" > "$out/$name.log" 2>&1
    echo "$name: exit code $? after $((SECONDS - began)) s: $*" >> "$out/steps.txt"
}

: > "$out/steps.txt"
step machine 60 python -c 'import jax; print(jax.__version__, *jax.devices(), sep="\n")'
if command -v nvidia-smi > /dev/null; then nvidia-smi -q > "$out/nvidia-smi.txt"; fi

# 1. One task wholly: if there are only five minutes, they are worth something.
first=${tasks[0]}
step "jacobians-$first" 300 python benchmarks/jacobians.py "$first" --engines step,residual --batch "${batches[@]}" \
    --json "$out/jacobians-$first.json"
step "agreement-$first" 240 python benchmarks/device_agreement.py "$first" --rows "$rows" --json "$out/agreement-$first.json"
step "generate-$first" 300 python benchmarks/generate.py "$first" --repetitions 1 --episode-length "$length" ${GENERATE_BATCH:+--batch "$GENERATE_BATCH"} \
    --json "$out/generate-$first.json"

# 2. A store, checked against MuJoCo C.
rm -rf "$out/data"
step store 240 dynamic-sparsity generate "$first" --out "$out/data" --episodes 64 --episode-length "$length"
step verify 240 dynamic-sparsity verify --deep --sample "$rows" "$out/data"

# 3. The other tasks, by batch; then the rest of them end to end, and against the CPU.
for task in "${tasks[@]:1}"; do
    step "jacobians-$task" 200 python benchmarks/jacobians.py "$task" --engines residual,step --batch "${batches[@]}" \
        --json "$out/jacobians-$task.json"
done
for task in "${tasks[@]:1:3}"; do
    step "generate-$task" 240 python benchmarks/generate.py "$task" --repetitions 1 --episode-length "$length" ${GENERATE_BATCH:+--batch "$GENERATE_BATCH"} \
        --json "$out/generate-$task.json"
    step "agreement-$task" 240 python benchmarks/device_agreement.py "$task" --rows "$rows" --json "$out/agreement-$task.json"
done

# 4. Several devices: the same bits as one.
count=$(python -c 'import jax; print(jax.local_device_count())' 2> /dev/null || echo 1)
if [ "$count" -gt 1 ]; then
    rm -rf "$out/data-one"
    step one-device 240 env CUDA_VISIBLE_DEVICES=0 dynamic-sparsity generate "$first" --out "$out/data-one" --episodes 64 \
        --episode-length "$length"
    step same-bits 60 diff -r "$out/data" "$out/data-one"
fi
rm -rf "$out/data" "$out/data-one"
cat "$out/steps.txt"
! grep -qE 'exit code [1-9]|no time left' "$out/steps.txt"
