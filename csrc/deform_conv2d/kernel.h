// deform_conv2d: a convolution whose taps are displaced, each by its own offset, and sampled
// bilinearly (zero outside the image). Columns of sampled taps are gathered a tile of output
// pixels at a time and multiplied with the weights as matrices.
#pragma once

#include <cstdint>

#include "../common/conv_finish.h"
#include "../common/dtype.h"
#include "../common/simd.h"

namespace accel_rt {

struct DeformParams {
  const void* input;   // [N, H, W, C] of dtype
  const void* offset;  // [N, OH, OW, OG, KH * KW, 2] (y, x) in pixels, of the accumulation type
  const void* mask;    // [N, OH, OW, OG, KH * KW] of the accumulation type, or null
  DType dtype;
  int64_t images;
  int channels, height, width;
  int out_height, out_width;
  int kernel_height, kernel_width;
  int stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
  int groups, offset_groups;
};

// A run of output pixels, counted over the whole batch.
struct DeformTile {
  int64_t first, pixels;
};

struct DeformBackwardParams {
  DeformParams forward;
  void* grad_offset;  // as offset, or null
  void* grad_mask;    // as mask, or null
  void* grad_input;   // [N, H, W, C] of the accumulation type, or null
};

constexpr int64_t deform_panel_block = 32;  // outputs: a panel, or several, at every SIMD level

// columns: [groups, tile.pixels, KH * KW, C / groups] of dtype; rows [begin, end) of the tile
ACCEL_RT_DECLARE_KERNEL(deform_gather, const DeformParams& p, const DeformTile& tile, void* columns,
                        int64_t begin, int64_t end)
// Packs outputs [begin, end), in blocks of deform_panel_block, of weight [outputs, KH, KW, C] for
// deform_panels(), in as many elements.
ACCEL_RT_DECLARE_KERNEL(deform_pack, const DeformParams& p, const void* weight, void* packed,
                        int64_t outputs, int64_t begin, int64_t end)
// The whole convolution of the given pixels, at most `most` at a time: output [N, OH, OW, outputs]
// of dtype; there is a bias
ACCEL_RT_DECLARE_KERNEL(deform_panels, const DeformParams& p, const DeformTile& pixels,
                        int64_t most, const void* packed, const ConvFinish& finish, void* output,
                        int64_t outputs)
// Elements [begin, end) of an output of dtype that is complete but for shortcut and ReLU
ACCEL_RT_DECLARE_KERNEL(deform_finish, DType dtype, const ConvFinish& finish, void* output,
                        int64_t begin, int64_t end)
// Gradients of offset and mask from those of the columns; rows [begin, end) of the tile
ACCEL_RT_DECLARE_KERNEL(deform_grad_offset, const DeformBackwardParams& p, const DeformTile& tile,
                        const void* grad_columns, int64_t begin, int64_t end)
// Adds the tile's share to channels [begin, end) of grad_input
ACCEL_RT_DECLARE_KERNEL(deform_grad_input, const DeformBackwardParams& p, const DeformTile& tile,
                        const void* grad_columns, int64_t begin, int64_t end)
// sum[i] += part[i] for i in [begin, end): part of dtype, sum of the accumulation type
ACCEL_RT_DECLARE_KERNEL(deform_accumulate, DType dtype, void* sum, const void* part, int64_t begin,
                        int64_t end)

// The same on the device and stream (a cudaStream_t); each returns a cudaError_t.
int deform_gather_cuda(const DeformParams& p, const DeformTile& tile, void* columns, void* stream);
int deform_backward_cuda(const DeformBackwardParams& p, const DeformTile& tile,
                         const void* grad_columns, void* stream);
int deform_accumulate_cuda(DType dtype, void* sum, const void* part, int64_t count, void* stream);

}  // namespace accel_rt
