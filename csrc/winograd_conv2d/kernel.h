// winograd_conv2d: a 3x3 convolution of stride 1 that keeps the size, by minimal filtering F(m x m,
// 3 x 3) (Winograd 1980; Lavin and Gray 2016). Tiles of m x m outputs come from (m + 2) x (m + 2)
// inputs: transformed tiles are multiplied with transformed weights place by place, and the
// products transformed back. With m = 2 an output takes 4 products of a channel instead of 9.
#pragma once

#include <cstdint>

#include "../common/conv_finish.h"
#include "../common/dtype.h"
#include "../common/simd.h"

namespace accel_rt {

constexpr int winograd_side = 2;                  // m
constexpr int winograd_span = winograd_side + 2;  // of the inputs of a tile
constexpr int winograd_places = winograd_span * winograd_span;

// Channels are multiples of a step; outputs fill panels of a step.
constexpr int winograd_channel_step = 16, winograd_output_step = 32;

struct WinogradParams {
  const void* input;   // [N, H, W, C] of dtype
  const void* packed;  // from winograd_pack()
  void* output;        // [N, H, W, outputs] of dtype
  DType dtype;         // float32, or bfloat16 where has_avx512_bf16()
  int64_t images;
  int channels, height, width, outputs;
  int dilation;  // and padding
  ConvFinish finish;

  // Tiles of an image, over the pixels that are `dilation` apart, for each of dilation^2 starts.
  int tile_rows() const { return tiles_across(height); }
  int tile_columns() const { return tiles_across(width); }
  int64_t tiles() const { return images * dilation * dilation * tile_rows() * tile_columns(); }

 private:
  int tiles_across(int pixels) const {
    const int reach = winograd_side * dilation;
    return (pixels + reach - 1) / reach;
  }
};

// Packs outputs [begin, end) of weight [outputs, 3, 3, channels] into the whole panels that
// winograd() reads, in all [panel outputs, channels, span, span] elements.
ACCEL_RT_DECLARE_KERNEL(winograd_pack, DType dtype, const void* weight, void* packed, int channels,
                        int64_t begin, int64_t end)
// The convolution at tiles [begin, end), at most `most` at a time; there is a bias for whole panels
ACCEL_RT_DECLARE_KERNEL(winograd, const WinogradParams& p, int64_t begin, int64_t end, int64_t most)

}  // namespace accel_rt
