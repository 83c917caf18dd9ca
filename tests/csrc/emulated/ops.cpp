// The ops once more, in the namespace accel_rt_emulated, over the emulated CUDA kernels.
#include "../../../csrc/compose_flow/op.cpp"
#include "../../../csrc/deform_conv2d/op.cpp"
#include "../../../csrc/flow_warp/op.cpp"
#include "../../../csrc/overlay/op.cpp"
#include "../../../csrc/preprocess/op.cpp"
#include "../../../csrc/reduce_flow/op.cpp"
#include "../../../csrc/upsample_argmax/op.cpp"
#include "../../../csrc/warp_score/op.cpp"
