#!/bin/sh
# Trains the paper's networks: recipes/camvid_resnet.sh CAMVID RUNS
# From scratch, with the installed light reference as a teacher of scores and features; low
# resolution first, and the deeper networks grow out of the shallower ones. Each stage goes on
# where it was interrupted. Days on two cores.
set -eu
camvid=$1 runs=$2

train() { # NETWORK RUN INIT STEPS RATE CROP SCALE
    accel-rt train deeplab --network "$1" --data "$camvid" --out "$runs/$2" --init "$3" \
        --steps "$4" --rate "$5" --crop "$6" --scale "$7" --batch 16 --weight-decay 0.05 \
        --ema 0.99 --street 0.1 --mix 0.3 --balance 0.3 --teacher efficientnet_lite2 \
        --distil 0.4 --hints 1
}

low() { train "$1" "$1-low" "$2" "$3" 1.5e-3 192x144 0.4,1.1; }
full() { train "$1" "$1" "$2" "$3" 1e-3 320x240 0.5,1.75; }

low resnet18 none 1500
full resnet18 "$runs/resnet18-low/resnet18.safetensors" 3000
full resnet34 "$runs/resnet18/resnet18.safetensors" 1500
low resnet50 none 2500
full resnet50 "$runs/resnet50-low/resnet50.safetensors" 3000
full resnet101 "$runs/resnet50/resnet50.safetensors" 2000
for update in resnet18 resnet34 resnet50; do
    accel-rt train joint --reference "$runs/resnet101/resnet101.safetensors" \
        --update "$runs/$update/$update.safetensors" --data "$camvid" --balance 0 \
        --out "$runs/resnet101-$update" --steps 600
done
