// depthwise_conv2d: each channel of an image by a square kernel of its own, 3x3 or 5x5, with its
// bias, and what is read and what results each kept between two values.
#pragma once

#include <cstdint>

#include "../common/dtype.h"

namespace accel_rt {

struct DepthwiseParams {
  const void* input;   // [N, H, W, C] of dtype, as all of them
  const void* weight;  // [kernel, kernel, C]
  const void* bias;    // [C]
  void* out;           // [N, OH, OW, C]
  DType dtype;
  int64_t images;
  int channels, height, width, out_height, out_width;
  int kernel, stride, padding, dilation;  // 3 or 5, and 1 or 2; the same in both directions
  bool clamps_input;                      // between the next two, of which zero is between
  float input_least, input_most;
  float least, most;  // of the results
};

// On the device and stream (a cudaStream_t); returns a cudaError_t.
int depthwise_conv2d_cuda(const DepthwiseParams& p, void* stream);

}  // namespace accel_rt
