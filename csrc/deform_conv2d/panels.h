// A deformable convolution by vector instructions: tiles of output pixels small enough for a core's
// cache are gathered tap by tap and multiplied at once with weights packed in panels. A panel is
// two vectors of outputs wide and holds them for one step of the summed depth after the other; a
// step is a word, which is a float or two neighbouring bfloat16. The sums of several pixels and a
// panel stay in registers, and a step loads the panel's two vectors and a word of each pixel.
#pragma once

#include <cstdlib>
#include <type_traits>

#include "../common/cpu.h"
#include "finish.h"
#include "sampling.h"

namespace accel_rt {
namespace {

using Floats = Vector<float>::type;
constexpr int panel_outputs = 2 * Vector<float>::lanes;
// Their sums fill most of the registers, of which there are 32 with vectors of 64 bytes, else 16.
constexpr int panel_pixels = vector_bytes == 64 ? 12 : 6;

// What is added to sums [pixels, panel_outputs], whose rows lie `sum_stride` apart. They begin as
// `bias`, or as what is there already if it is null.
struct PanelProduct {
  const void* pixels;  // rows of `depth` words, `depth` apart
  const float* panel;  // words [depth, panel_outputs]
  int depth;
  const float* bias;  // [panel_outputs], or null
  float* sums;
  int64_t sum_stride;
};

inline Floats& floats_at(float* at) { return *reinterpret_cast<Floats*>(at); }
inline const Floats& floats_at(const float* at) { return *reinterpret_cast<const Floats*>(at); }

struct WordOfFloat {
  using type = float;
  static Floats add(Floats sum, float pixel, Floats weights) { return sum + pixel * weights; }
};

#if defined(__AVX512F__)
struct WordOfPair {
  typedef int type __attribute__((may_alias));
  // In assembly, since this level is compiled for processors without the instruction, too.
  static Floats add(Floats sum, int pixel, Floats weights) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(_mm512_set1_epi32(pixel)));
    return sum;
  }
};
#endif

template <class Word, int pixels>
void add_product(const PanelProduct& p) {
  constexpr int lanes = panel_outputs / 2;
  Floats sums[pixels][2];
#pragma GCC unroll 12
  for (int i = 0; i < pixels; ++i) {
    const float* from = p.bias != nullptr ? p.bias : p.sums + i * p.sum_stride;
    sums[i][0] = floats_at(from), sums[i][1] = floats_at(from + lanes);
  }
  const auto* words = static_cast<const typename Word::type*>(p.pixels);
  const float* panel = p.panel;
  for (int step = 0; step < p.depth; ++step, ++words, panel += panel_outputs) {
    const Floats left = floats_at(panel), right = floats_at(panel + lanes);
#pragma GCC unroll 12
    for (int i = 0; i < pixels; ++i) {
      const auto word = words[i * int64_t(p.depth)];
      sums[i][0] = Word::add(sums[i][0], word, left);
      sums[i][1] = Word::add(sums[i][1], word, right);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < pixels; ++i) {
    float* to = p.sums + i * p.sum_stride;
    floats_at(to) = sums[i][0], floats_at(to + lanes) = sums[i][1];
  }
}

// add_product() for as many pixels, up to panel_pixels, as there are
template <class Word, int pixels = panel_pixels>
void add_product_of(int64_t count, const PanelProduct& p) {
  if constexpr (pixels > 1) {
    if (count < pixels) return add_product_of<Word, pixels - 1>(count, p);
  }
  add_product<Word, pixels>(p);
}

// panel [depth, panel_outputs] = weight [panel_outputs, depth], whose rows lie `stride` words apart
inline void transpose_panel(float* panel, const float* weight, int64_t stride, int depth) {
  using Row = Vector<uint32_t>::type;
  constexpr int lanes = panel_outputs / 2;
  int first = 0;
  for (; first + lanes <= depth; first += lanes)
    for (int half = 0; half < panel_outputs; half += lanes) {
      Row rows[lanes];
      for (int i = 0; i < lanes; ++i)
        rows[i] = *reinterpret_cast<const Row*>(weight + (half + i) * stride + first);
      transpose(rows);
      for (int i = 0; i < lanes; ++i)
        *reinterpret_cast<Row*>(panel + (first + i) * panel_outputs + half) = rows[i];
    }
  for (; first < depth; ++first)
    for (int output = 0; output < panel_outputs; ++output)
      std::memcpy(panel + first * panel_outputs + output, weight + output * stride + first,
                  sizeof(float));
}

// Channels are summed so many words at a time: long enough a run to keep a panel's sums in
// registers for, short enough for what is read over and over to stay in a core's cache.
constexpr int part_words = 256;

// The order of packed weights: [parts of the channels, taps, panels, words of a part,
// panel_outputs]
struct PanelLayout {
  int words, taps;  // words of a pixel's channels
  int64_t outputs;

  PanelLayout(const DeformParams& p, int64_t outputs)
      : words(p.dtype == DType::bf16 ? p.channels / 2 : p.channels),
        taps(p.kernel_height * p.kernel_width),
        outputs(outputs) {}

  int words_from(int first) const {
    return words - first < part_words ? words - first : part_words;
  }
  int64_t offset(int first, int k, int64_t output) const {
    return int64_t(first) * taps * outputs + (k * outputs + output) * words_from(first);
  }
};

// Packs weight [outputs, taps, words]: the panel from `output` on. Words are copied as they are.
inline void pack_panel(const PanelLayout& layout, const float* weight, int64_t output,
                       float* packed) {
  const int64_t stride = int64_t(layout.taps) * layout.words;
  for (int k = 0; k < layout.taps; ++k)
    for (int first = 0; first < layout.words; first += part_words)
      transpose_panel(packed + layout.offset(first, k, output),
                      weight + output * stride + int64_t(k) * layout.words + first, stride,
                      layout.words_from(first));
}

// Gathers channels [begin, end) of tap `k`: columns [pixels, end - begin].
template <class T>
void gather_tap(const DeformParams& p, const DeformTile& tile, int k, int begin, int end,
                T* columns) {
  const T* input = static_cast<const T*>(p.input);
  const int share = p.channels / p.offset_groups;
  for (int64_t row = 0; row < tile.pixels; ++row) {
    const Pixel at = output_pixel(p, tile.first + row);
    for (int first = begin; first < end;) {
      const int group = first / share;
      const int count = ((group + 1) * share < end ? (group + 1) * share : end) - first;
      const Tap<float> tap = sample_tap<float>(p, at, tap_index(p, tile.first + row, group, k),
                                               k / p.kernel_width, k % p.kernel_width);
      const Corners<float> taps = tap_corners(p, at, tap, tap.mask);
      if (taps.empty())
        std::memset(static_cast<void*>(columns), 0, count * sizeof(T));
      else
        blend(columns, input + first, taps, count);
      columns += count, first += count;
    }
  }
}

// Sums [tile.pixels, outputs] of all taps of a tile, with memory for its columns.
template <class Word, class T>
void sum_tile(const DeformParams& p, const DeformTile& tile, const PanelLayout& layout,
              const float* packed, const float* bias, T* columns, float* sums) {
  const int channels = p.channels / layout.words;  // of a word
  for (int first = 0; first < layout.words; first += part_words) {
    const int depth = layout.words_from(first);
    for (int k = 0; k < layout.taps; ++k) {
      gather_tap(p, tile, k, first * channels, (first + depth) * channels, columns);
      for (int64_t row = 0; row < tile.pixels; row += panel_pixels)
        for (int64_t output = 0; output < layout.outputs; output += panel_outputs)
          add_product_of<Word>(
              tile.pixels - row,
              {columns + row * depth * channels, packed + layout.offset(first, k, output), depth,
               first + k == 0 ? bias + output : nullptr, sums + row * layout.outputs + output,
               layout.outputs});
    }
  }
}

template <class Word, class T>
void convolve_in_panels(const DeformParams& p, const DeformTile& pixels, int64_t most,
                        const float* packed, const DeformFinish& finish, T* output,
                        int64_t outputs) {
  constexpr bool rounded = !std::is_same_v<T, float>;
  const PanelLayout layout(p, outputs);
  const int64_t column_bytes = (most * part_words * 4 + 63) / 64 * 64;
  const int64_t sum_bytes = rounded ? most * outputs * sizeof(float) : 0;
  char* memory = static_cast<char*>(std::aligned_alloc(64, column_bytes + sum_bytes));
  for (int64_t first = 0; first < pixels.pixels; first += most) {
    const int64_t left = pixels.pixels - first;
    const DeformTile tile{pixels.first + first, left < most ? left : most};
    const int64_t begin = tile.first * outputs;
    float* sums = reinterpret_cast<float*>(memory + column_bytes);
    if constexpr (!rounded) sums = output + begin;
    sum_tile<Word>(p, tile, layout, packed, finish.bias, reinterpret_cast<T*>(memory), sums);
    if (rounded || !finish.only_bias())
      finish_run(finish, output, sums, begin, tile.pixels * outputs);
  }
  std::free(memory);
}

}  // namespace
}  // namespace accel_rt
