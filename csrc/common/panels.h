// Matrix products by vector instructions: rows of pixels times weights packed in panels. A panel is
// two vectors of outputs wide and holds them for one step of the summed depth after the other; a
// step is a word, which is a float or two neighbouring bfloat16. The sums of several pixels and a
// panel stay in registers, and a step loads the panel's two vectors and a word of each pixel.
#pragma once

#include "cpu.h"

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

}  // namespace
}  // namespace accel_rt
