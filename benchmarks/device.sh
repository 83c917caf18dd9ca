#!/usr/bin/env bash
# Everything to be known of a CUDA device: benchmarks/device.sh OUT
#
# It is meant for six minutes of an H100; none has run it yet.
# Builds the library with its CUDA kernels, runs the tests that need a device, the sanitizers, and all
# that is timed. Each step has its own time limit, and one that fails does not stop the next. OUT gets
# NAME.log for each step, device.json and table.md. Networks' weights may be left behind, all or some:
# random ones of the same shape stand in. So may docs/, weights-paper/ and benchmarks/results/. PYTHON is
# a Python with a CUDA build of torch and the package's dependencies; DEVICE=cpu tries the script out
# without one.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
out=$(cd "$1" && pwd)
python=${PYTHON:-python} device=${DEVICE:-cuda}
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1
steps=()

# step NAME SECONDS COMMAND...: its output in OUT/NAME.log, its exit code and time in the table
step() {
    local name=$1 limit=$2 began=$EPOCHREALTIME
    shift 2
    timeout --kill-after 5 "$limit" "$@" >"$out/$name.log" 2>&1
    local code=$?
    steps+=("$name $code $(echo "$EPOCHREALTIME $began" | awk '{printf "%.1f", $1 - $2}')")
    echo "$name: exit code $code"
}

# segment NAME ARGUMENTS...: whole commands on a long clip, frames without a video
segment() {
    local name=$1
    shift
    step "segment-$name" 40 $python -m accel_rt segment "$out/clip.mp4" --no-video \
        --masks "$out/masks-$name" --timing "$out/segment-$name.csv" --device "$device" "$@"
    rm -rf "$out/masks-$name"
}

on_card=()
[ "$device" = cpu ] || on_card=(-m cuda)
step build 150 env ACCEL_RT_CUDA=$([ "$device" = cpu ] && echo 0 || echo 1) \
    ACCEL_RT_CUDA_ARCHES="${ARCHES:-90}" $python setup.py -q build_ext --inplace
step doctor 30 $python -m accel_rt doctor
step weights 30 $python -m benchmarks.stand_in "$out/weights" \
    efficientnet_lite2 efficientnet_lite0 resnet101 resnet18
export ACCEL_RT_WEIGHTS="$out/weights"
ls "$out/weights"/*.safetensors >/dev/null 2>&1 || unset ACCEL_RT_WEIGHTS
# By as many processes as pytest-xdist is there for; one without it.
parallel=$($python -c "import xdist; print('-n 8')" 2>/dev/null)
step tests 90 $python -m pytest "${on_card[@]}" $parallel tests/ops tests/gpu ${TESTS:-}
step operators 60 $python -m benchmarks.gpu $([ "$device" = cpu ] && echo --assume-h100) --no-frames
step frames 60 $python -m benchmarks.gpu $([ "$device" = cpu ] && echo --assume-h100) --frames
step bench 60 $python -m accel_rt bench --quick --device "$device"
step clip 40 $python -m accel_rt street "$out/clip.mp4" --size 960x540 --seconds "${CLIP_S:-12}"
for mode in accel dff deeplab; do
    segment "$mode" --mode $mode --interval 5
done
for preset in accurate balanced fast fastest; do
    segment "$preset" --preset $preset
done
segment paper --reference resnet101 --update resnet18 --interval 5
if [ -n "${PACK:-}" ]; then
    SECONDS_EACH=45 EPOCHS=${EPOCHS:-300} DEVICE=$device PYTHON=$python \
        step training 80 recipes/device.sh "$PACK" "$out/training" efficientnet_lite2
fi
for tool in memcheck racecheck synccheck initcheck; do
    command -v compute-sanitizer >/dev/null || break
    step "$tool" 60 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool \
        --error-exitcode 1 --target-processes all $python -m benchmarks.every_operator "$device"
done
command -v compute-sanitizer >/dev/null ||
    step every_operator 60 $python -m benchmarks.every_operator "$device"
printf '%s\n' "${steps[@]}" | $python -m benchmarks.device_table "$out"
