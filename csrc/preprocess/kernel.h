// preprocess: a BGR frame of bytes to the normalised RGB image that a network takes: resized,
// extended by the mean colour, each value scaled and shifted.
#pragma once

#include <cstdint>

#include "../common/dtype.h"

namespace accel_rt {

// The output's upper left `inner` pixels are the frame, resized; the rest is the border's colour.
// What is resized is the frame's `extent`, to which the border's colour extends it, too.
struct ResizeParams {
  const uint8_t* frames;  // [N, H, W, 3] BGR
  int64_t images;
  int height, width;
  int extent_height, extent_width;
  int inner_height, inner_width;
  int out_height, out_width;
  uint8_t border[3];  // BGR
};

struct NormaliseParams {
  float scale[3], shift[3];  // RGB
};

// On the device and stream (a cudaStream_t); each returns a cudaError_t. The first writes bytes,
// [N, out_height, out_width, 3] BGR, the second RGB of dtype.
int resize_cuda(const ResizeParams& p, uint8_t* out, void* stream);
int resize_normalise_cuda(const ResizeParams& p, const NormaliseParams& normalise, DType dtype,
                          void* out, void* stream);

}  // namespace accel_rt
