#!/bin/sh
# Goes on from the light pair, on harmed frames: recipes/camvid_robust.sh CAMVID RUNS
# Each stage goes on where it was interrupted: 80 minutes on two cores. Made the light pair of the one
# before it; Lite2 then went through it once more (1200 steps, --seed 7), before the last stage.
set -eu
camvid=$1 runs=$2
# Weights that ship have no class weights in their scores, so --balance is 0.
common="--data $camvid --balance 0 --robust 0.5 --street 0.05 --ema 0.994"

for network in "efficientnet_lite2 900" "efficientnet_lite0 400"; do
    set -- $network
    accel-rt train deeplab --network "$1" --init "$1" --out "$runs/$1" $common --steps "$2" \
        --rate 2.5e-4 --warmup 30 --scale 0.6,2 --mix 0.3 --edges 0.5 --whole 0.1 \
        --validate-every 150 --validate-first 0
done

mkdir -p "$runs/light-pair"
for network in efficientnet_lite2 efficientnet_lite0; do
    accel-rt train soup $network "$runs/$network/$network.safetensors" \
        -o "$runs/light-pair/$network.safetensors"
done
# The fusion that the pair learnt jointly stays.
python "$(dirname "$0")/keep_fusion.py" efficientnet_lite2 efficientnet_lite0 "$runs/light-pair"

# Less flicker: Lite0 and the fusion learn to agree with what was carried along the flow.
ACCEL_RT_WEIGHTS="$runs/light-pair" accel-rt train joint --reference efficientnet_lite2 \
    --update efficientnet_lite0 --keep-reference --update-scales 1 --agree 1 --data "$camvid" \
    --out "$runs/agree" --balance 0 --street 0 --robust 0.3 --steps 40 --fusion-steps 0 --rate 5e-5 \
    --warmup 5 --ema 0.93 --interval 6 --validate-first 40 --seed 7
cp "$runs/light-pair/efficientnet_lite2.safetensors" "$runs/agree"

for network in efficientnet_lite2 efficientnet_lite0; do
    accel-rt eval "$camvid" --mode deeplab --reference "$runs/agree/$network.safetensors" \
        --corrupt noise:10,jpeg:30,blur:7 --no-timing
done
ACCEL_RT_WEIGHTS="$runs/agree" accel-rt eval schedules "$camvid" --seconds 0
