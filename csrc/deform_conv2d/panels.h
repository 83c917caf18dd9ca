// A deformable convolution by vector instructions: tiles of output pixels small enough for a core's
// cache are gathered tap by tap and multiplied at once with weights packed in panels.
#pragma once

#include <type_traits>

#include "../common/finish_run.h"
#include "../common/panels.h"
#include "../common/scratch.h"
#include "sampling.h"

namespace accel_rt {
namespace {

// Words of depth that are summed at a time: enough to pay for loading and storing a panel's sums,
// few enough for what is read again and again to stay in L2.
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
      blend(columns, Taps<T, float>(input + first, tap_corners(p, at, tap, tap.mask)), count);
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
              {columns + row * depth * channels, depth, packed + layout.offset(first, k, output),
               depth, first + k == 0 ? bias + output : nullptr,
               sums + row * layout.outputs + output, layout.outputs});
    }
  }
}

template <class Word, class T>
void convolve_in_panels(const DeformParams& p, const DeformTile& pixels, int64_t max_tile,
                        const float* packed, const ConvFinish& finish, T* output, int64_t outputs) {
  constexpr bool rounded = !std::is_same_v<T, float>;
  const PanelLayout layout(p, outputs);
  T* columns;
  float* rounded_sums;
  const Scratch memory(array(columns, max_tile * part_words * int64_t(4 / sizeof(T))),
                       array(rounded_sums, rounded ? max_tile * outputs : 0));
  for (int64_t first = 0; first < pixels.pixels; first += max_tile) {
    const int64_t left = pixels.pixels - first;
    const DeformTile tile{pixels.first + first, left < max_tile ? left : max_tile};
    const int64_t begin = tile.first * outputs;
    float* sums = rounded_sums;
    if constexpr (!rounded) sums = output + begin;
    sum_tile<Word>(p, tile, layout, packed, finish.bias, columns, sums);
    if (rounded || !finish.only_bias())
      finish_run(finish, output, sums, begin, tile.pixels * outputs);
  }
}

}  // namespace
}  // namespace accel_rt
