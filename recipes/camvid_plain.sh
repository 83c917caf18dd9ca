#!/bin/sh
# Trains the network of plain convolutions that ships: recipes/camvid_plain.sh CAMVID RUNS
# Each stage goes on where it was interrupted. Two and a half hours on two cores with AMX.
set -eu
camvid=$1 runs=$2
common="--network plainnet --data $camvid --batch 16 --balance 0.3 --weight-decay 0.05 --ema 0.998
    --street 0.1 --mix 0.4 --teacher efficientnet_lite2"

accel-rt train deeplab $common --out "$runs/plain-low" --steps 2500 --rate 2e-3 --crop 192x144 \
    --scale 0.4,1.1 --distil 0.5 --hints 1 --seed 7
accel-rt train deeplab $common --out "$runs/plain" --init "$runs/plain-low/plainnet.safetensors" \
    --steps 960 --rate 1.2e-3 --crop 320x240 --scale 0.5,1.75 --distil 0.5 --hints 0.5 --seed 8
accel-rt train deeplab $common --out "$runs/plain-robust" --init "$runs/plain/plainnet.safetensors" \
    --steps 1900 --rate 1.2e-3 --warmup 60 --crop 320x240 --scale 0.5,1.75 --distil 0.6 --hints 0.5 \
    --robust 0.25 --whole 0.1 --seed 9
accel-rt train fusion --reference efficientnet_lite2 \
    --update "$runs/plain-robust/plainnet.safetensors" --data "$camvid" --snippets 200 \
    --out "$runs/plain-robust"
