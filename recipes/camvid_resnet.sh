#!/bin/sh
# Trains the paper's networks: recipes/camvid_resnet.sh CAMVID RUNS
# From scratch, with the installed light reference as a teacher; the deeper networks grow out of
# the shallower ones. Each stage goes on where it was interrupted. Days on two cores.
set -eu
camvid=$1 runs=$2

train() { # NETWORK INIT STEPS RATE
    accel-rt train deeplab --network "$1" --data "$camvid" --out "$runs/$1" --init "$2" \
        --steps "$3" --rate "$4" --weight-decay 0.05 --ema 0.995 --street 0.12 --mix 0.4 \
        --teacher efficientnet_lite2 --distil 0.4
}

train resnet18 none 6000 1e-3
train resnet34 "$runs/resnet18/resnet18.safetensors" 3000 5e-4
train resnet50 none 6000 1e-3
train resnet101 "$runs/resnet50/resnet50.safetensors" 4000 5e-4
for update in resnet18 resnet34 resnet50; do
    accel-rt train joint --reference "$runs/resnet101/resnet101.safetensors" \
        --update "$runs/$update/$update.safetensors" --data "$camvid" --balance 0 \
        --out "$runs/resnet101-$update" --steps 600
done
