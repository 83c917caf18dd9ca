// reduce_flow: dense flow to the feature grid by area averaging, from pixels to cells.
#pragma once

#include <cstdint>

#include "../common/dtype.h"

namespace accel_rt {

struct ReduceFlowParams {
  const void* flow;   // [N, 2, h, w] of dtype
  int64_t stride[4];  // of flow, in elements
  float* out;         // [N, H, W, 2] (x, y)
  DType dtype;
  int64_t images;
  int height, width;                // h, w
  int padded_height, padded_width;  // what the grid covers; the edge repeats
  int out_height, out_width;        // H, W
  float factor[2];                  // (x, y), applied to the means
};

// On the device and stream (a cudaStream_t); returns a cudaError_t.
int reduce_flow_cuda(const ReduceFlowParams& p, void* stream);

}  // namespace accel_rt
