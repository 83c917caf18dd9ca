// inverted_residual: the block of MobileNetV2 and its successors (Sandler et al., CVPR 2018): a 1x1
// convolution to many channels, one of each of these by itself, and a 1x1 convolution back to few.
// The many channels never leave the cache: a tile of the image is expanded for a chunk of them at a
// time, convolved and summed up.
#pragma once

#include <cstdint>

#include "../common/conv_finish.h"
#include "../common/simd.h"

namespace accel_rt {

// Outputs of a panel of packed weights, of which the last is filled up; the middle channels are
// multiples of a step.
constexpr int inverted_residual_panel = 32, inverted_residual_step = 16;

struct InvertedResidualParams {
  const float* input;           // [N, H, W, C]
  const float* expand;          // [panels of the middle, C, panel], or null: expanded already
  const float* expand_bias;     // [middle]
  const float* taps;            // [kernel, kernel, middle]
  const float* depthwise_bias;  // [middle]
  const float* project;         // [panels of the outputs, middle, panel]
  ConvFinish finish;            // of the outputs
  float* output;                // [N, OH, OW, outputs]
  int64_t images;
  int channels, height, width;
  int middle, outputs, out_height, out_width;
  int kernel, stride, dilation;  // 3 or 5; the padding keeps the size at a stride of 1
  float most;                    // middle channels are kept between zero and this

  int tile_height = 1, tile_width = 1;  // of the output

  int reach() const { return (kernel - 1) * dilation + 1; }
  int padding() const { return kernel / 2 * dilation; }
  // Rows or columns of the input that so many of the output see, padding included
  int seen(int count) const { return (count - 1) * stride + reach(); }
  int tile_rows() const { return (out_height + tile_height - 1) / tile_height; }
  int tile_columns() const { return (out_width + tile_width - 1) / tile_width; }
  int64_t tiles() const { return images * tile_rows() * tile_columns(); }
};

// Middle channels that a tile is expanded to at a time
constexpr int inverted_residual_chunk = 64;

// Tiles [begin, end) of the outputs
ACCEL_RT_DECLARE_KERNEL(inverted_residual, const InvertedResidualParams& p, int64_t begin,
                        int64_t end)
// Rows [begin, end) of all images, expanded: [N, H, W, middle]
ACCEL_RT_DECLARE_KERNEL(inverted_residual_expand, const InvertedResidualParams& p, float* expanded,
                        int64_t begin, int64_t end)

}  // namespace accel_rt
