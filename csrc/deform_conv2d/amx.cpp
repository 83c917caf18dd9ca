#include "amx.h"

#include <cstdlib>

#include "../common/amx.h"
#include "sampling.h"

namespace accel_rt {
namespace {

static_assert(deform_amx_block == amx_block);

int taps(const DeformParams& p) { return p.kernel_height * p.kernel_width; }

// Gathers tap (ky, kx) of the tile's pixels, packed: [pixels / 32, C / 32, 32, 32]
void gather(const DeformParams& p, const DeformTile& tile, int ky, int kx, BFloat16* columns) {
  const BFloat16* input = static_cast<const BFloat16*>(p.input);
  const int share = p.channels / p.offset_groups, blocks = p.channels / amx_block;
  const auto unchanged = [](const Vector<float>::type& sum) { return sum; };
  // Where the channels of an offset group lie for a pixel; what is there is wanted soon.
  const auto find = [&](int64_t row, int group) {
    const int64_t index = tap_index(p, tile.first + row, group, ky * p.kernel_width + kx);
    const Pixel at = output_pixel(p, tile.first + row);
    const Tap<float> tap = sample_tap<float>(p, at, index, ky, kx);
    Corners<float> found = tap_corners(p, at, tap, tap.mask);
    for (int64_t& offset : found.offset) {
      offset += group * share;
      for (int i = 0; i < share; i += amx_block) __builtin_prefetch(input + offset + i);
    }
    return found;
  };
  Corners<float> next = find(0, 0);
  for (int64_t row = 0; row < tile.pixels; ++row) {
    BFloat16* out = columns + amx_offset(row, blocks);
    for (int group = 0; group < p.offset_groups; ++group) {
      const Corners<float> at = next;
      if (group + 1 < p.offset_groups)
        next = find(row, group + 1);
      else if (row + 1 < tile.pixels)
        next = find(row + 1, 0);
      const bool empty = at.empty();  // weight zero alone would let Inf and NaN in
      for (int i = 0; i < share; i += amx_block, out += amx_elements) {
        if (empty)
          std::memset(static_cast<void*>(out), 0, amx_block * sizeof(BFloat16));
        else
          blend_pairs(out, input + i, at, amx_block, unchanged);
      }
    }
  }
}

// Rounds sums [pixels / 32, outputs / 32, 32, 32] into output [pixels, outputs].
void finish(const float* sums, const float* bias, BFloat16* output, int64_t pixels,
            int64_t outputs) {
  for (int64_t row = 0; row < pixels; ++row) {
    const float* __restrict sum = sums + amx_offset(row, int(outputs / amx_block));
    for (int64_t first = 0; first < outputs; first += amx_block, sum += amx_elements) {
      BFloat16* __restrict out = output + row * outputs + first;
#pragma omp simd
      for (int i = 0; i < amx_block; ++i)
        store(out[i], sum[i] + (bias != nullptr ? bias[first + i] : 0.0f));
    }
  }
}

}  // namespace

bool deform_amx_fits(const DeformParams& p, int64_t outputs) {
  return p.dtype == DType::bf16 && p.groups == 1 && outputs % amx_block == 0 &&
         p.channels % (p.offset_groups * amx_block) == 0;
}

int64_t deform_amx_packed(const DeformParams& p, int64_t outputs) {
  return outputs * taps(p) * p.channels;
}

void deform_amx_pack(const DeformParams& p, const void* weight, void* packed, int64_t begin,
                     int64_t end) {
  const int64_t depth = int64_t(taps(p)) * p.channels;
  const BFloat16* from = static_cast<const BFloat16*>(weight) + begin * amx_block * depth;
  BFloat16* to = static_cast<BFloat16*>(packed) + begin * amx_block * depth;
  for (int64_t block = begin; block < end; ++block, from += amx_block * depth)
    for (int64_t k = 0; k < depth; k += amx_block, to += amx_elements)
      amx_pack_weight(to, from + k, depth, amx_block);
}

void deform_amx(const DeformParams& p, const DeformTile& tile, const void* packed,
                const float* bias, void* output, int64_t outputs) {
  const int channel_blocks = p.channels / amx_block, output_blocks = int(outputs / amx_block);
  const int64_t pixel_blocks = (tile.pixels + amx_block - 1) / amx_block;
  const int64_t rows = pixel_blocks * amx_block;
  BFloat16* columns =
      static_cast<BFloat16*>(std::aligned_alloc(64, rows * p.channels * sizeof(BFloat16)));
  float* sums = static_cast<float*>(std::aligned_alloc(64, rows * outputs * sizeof(float)));
  const BFloat16* weight = static_cast<const BFloat16*>(packed);
  const int64_t depth = int64_t(taps(p)) * p.channels;
  const AmxTiles tiles;
  for (int k = 0; k < taps(p); ++k) {
    gather(p, tile, k / p.kernel_width, k % p.kernel_width, columns);
    for (int n = 0; n < output_blocks; ++n) {
      const BFloat16* block = weight + amx_block * (n * depth + int64_t(k) * p.channels);
      for (int64_t m = 0; m < pixel_blocks; ++m)
        amx_multiply(sums + (m * output_blocks + n) * amx_elements,
                     columns + m * channel_blocks * amx_elements, block, channel_blocks, k > 0);
    }
  }
  finish(sums, bias, static_cast<BFloat16*>(output) + tile.first * outputs, tile.pixels, outputs);
  std::free(sums);
  std::free(columns);
}

}  // namespace accel_rt
