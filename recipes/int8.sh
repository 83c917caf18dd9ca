#!/bin/sh
# Puts 8-bit integers beside the weights of the light pair: recipes/int8.sh CAMVID OUT
# They are calibrated on frames of CamVid's training split alone. OUT gets the installed weights, as
# they are, with their integers, under their names; then both are evaluated. Needs the extras openvino
# and int8. Minutes on two cores.
set -eu
camvid=$1 out=$2
networks="efficientnet_lite2 efficientnet_lite0"

mkdir -p "$out"
for network in $networks; do
    accel-rt pack $network --int8 --calibrate "$camvid/train" -o "$out/$network.safetensors"
done

for how in "--backend torch" "--backend openvino"; do
    for network in $networks; do
        ACCEL_RT_WEIGHTS=$out accel-rt eval "$camvid" --mode deeplab --reference $network $how \
            --no-timing
    done
    ACCEL_RT_WEIGHTS=$out accel-rt eval "$camvid" --interval 5 $how --no-timing
done
