// The ops once more, in the namespace accel_rt_emulated, over the emulated CUDA kernels.
#include "../../../csrc/deform_conv2d/op.cpp"
#include "../../../csrc/flow_warp/op.cpp"
#include "../../../csrc/upsample_argmax/op.cpp"
#include "../../../csrc/warp_score/op.cpp"
