// flow_warp: out[n, c, y, x] = bilinear(input[n, c], y + flow[n, 1, y, x], x + flow[n, 0, y, x])
#pragma once

#include <cstdint>

#include "../common/dtype.h"
#include "../common/simd.h"

namespace accel_rt {

struct FlowWarpParams {
  const void* input;  // [N, H, W, C] or, if planar, [N, C, H, W], of dtype
  const void* flow;   // [N, H, W, 2] (x, y) in pixels, of the accumulation type
  void* output;       // as input
  DType dtype;
  int64_t images, channels;
  int height, width;
  bool zeros;   // zero outside the image, else the border repeats
  bool planar;  // NCHW
};

struct FlowWarpBackwardParams {
  const void* grad_output;  // [N, H, W, C] of dtype
  const void* input;        // [N, H, W, C] of dtype
  const void* flow;         // [N, H, W, 2] of the accumulation type
  void* grad_input;         // [N, H, W, C] of dtype; on CUDA of the accumulation type and zeroed
  void* grad_flow;          // [N, H, W, 2] of the accumulation type
  DType dtype;
  int64_t images, channels;
  int height, width;
  bool zeros;
};

// Rows of an image; none if last < first
struct RowRange {
  int first, last;
};

// Pixels [begin, end) of N * H * W
ACCEL_RT_DECLARE_KERNEL(flow_warp_nhwc, const FlowWarpParams& p, int64_t begin, int64_t end)
// Rows [begin, end) of N * H
ACCEL_RT_DECLARE_KERNEL(flow_warp_nchw, const FlowWarpParams& p, int64_t begin, int64_t end)
// Pixels [begin, end) of N * H * W
ACCEL_RT_DECLARE_KERNEL(flow_warp_grad_flow, const FlowWarpBackwardParams& p, int64_t begin,
                        int64_t end)
// Of rows [begin, end) of N * H of the output: the rows of the input that they are sampled from
ACCEL_RT_DECLARE_KERNEL(flow_warp_reach, const FlowWarpBackwardParams& p, RowRange* reach,
                        int64_t begin, int64_t end)
// Pixels [begin, end) of N * H * W of the input: threads that own different pixels never collide.
// `reach` holds what flow_warp_reach wrote of every row.
ACCEL_RT_DECLARE_KERNEL(flow_warp_grad_input, const FlowWarpBackwardParams& p,
                        const RowRange* reach, int64_t begin, int64_t end)

// The same on the device and stream (a cudaStream_t); each returns a cudaError_t.
int flow_warp_cuda(const FlowWarpParams& p, void* stream);
int flow_warp_backward_cuda(const FlowWarpBackwardParams& p, bool need_input, bool need_flow,
                            void* stream);

}  // namespace accel_rt
