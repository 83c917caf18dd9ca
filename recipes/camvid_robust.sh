#!/bin/sh
# Goes on from the light pair that ships, on harmed frames: recipes/camvid_robust.sh CAMVID RUNS
# Each stage goes on where it was interrupted. Hours on two idle cores; not run through yet.
set -eu
camvid=$1 runs=$2

for network in efficientnet_lite2 efficientnet_lite0; do
    # Shipped weights have no class weights in their scores, so --balance is 0.
    accel-rt train deeplab --network $network --init $network --data "$camvid" \
        --out "$runs/$network" --robust 0.5 --steps 1000 --rate 2.5e-4 --warmup 30 --balance 0 \
        --scale 0.6,2 --mix 0.3 --street 0.05 --ema 0.994 --validate-every 150
done

accel-rt train joint --reference "$runs/efficientnet_lite2/efficientnet_lite2.safetensors" \
    --update "$runs/efficientnet_lite0/efficientnet_lite0.safetensors" --data "$camvid" \
    --out "$runs/light-pair" --robust 0.5 --street 0.1 --balance 0 --branch-loss 0.5 --steps 450 \
    --fusion-steps 40 --rate 1e-4 --warmup 30 --ema 0.994 --validate-every 100

for network in efficientnet_lite2 efficientnet_lite0; do
    accel-rt eval "$camvid" --mode deeplab --reference "$runs/light-pair/$network.safetensors" \
        --corrupt noise:10,jpeg:30,blur:7 --no-timing
done
ACCEL_RT_WEIGHTS="$runs/light-pair" accel-rt eval schedules "$camvid" --seconds 0
