// Matrix products by vector instructions: rows of pixels times weights packed in panels. A panel is
// some vectors of outputs wide and holds them for one step of the summed depth after the other; a
// step is a word, which is a float or two neighbouring bfloat16. The sums of several pixels and two
// vectors of outputs stay in registers, and a step loads these vectors and a word of each pixel.
#pragma once

#include "cpu.h"

namespace accel_rt {
namespace {

using Floats = Vector<float>::type;
constexpr int panel_outputs = 2 * Vector<float>::lanes;
// Their sums fill most of the registers, of which there are 32 with vectors of 64 bytes, else 16.
constexpr int panel_pixels = vector_bytes == 64 ? 12 : 6;

// What is added to sums [pixels, outputs], whose rows lie `sum_stride` apart. They begin as `bias`,
// or as what is there already if it is null.
struct PanelProduct {
  const void* pixels;  // rows of `depth` words
  int64_t pixel_stride;
  const float* panel;  // rows of outputs' words, one for each step of the depth
  int depth;
  const float* bias;  // [outputs], or null
  float* sums;
  int64_t sum_stride;
  int panel_stride = panel_outputs;
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

struct Unchanged {
  Floats operator()(Floats sums) const { return sums; }
};

// Adds the product of `pixels` pixels and `vectors` vectors of outputs; what is stored is
// finish(sums).
template <class Word, int pixels, int vectors, class Finish>
void add_product(const PanelProduct& p, const Finish& finish) {
  constexpr int lanes = Vector<float>::lanes;
  Floats sums[pixels][vectors];
#pragma GCC unroll 12
  for (int i = 0; i < pixels; ++i) {
    const float* from = p.bias != nullptr ? p.bias : p.sums + i * p.sum_stride;
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sums[i][v] = floats_at(from + v * lanes);
  }
  // A pointer for every four pixels, from which the processor finds the others: twelve offsets
  // would not stay in registers, and loading them takes as long as the products.
  constexpr int quads = (pixels + 3) / 4;
  const int64_t stride = p.pixel_stride, thrice = 3 * stride;
  const typename Word::type* words[quads];
#pragma GCC unroll 3
  for (int quad = 0; quad < quads; ++quad)
    words[quad] = static_cast<const typename Word::type*>(p.pixels) + 4 * quad * stride;
  const float* panel = p.panel;
  for (int step = 0; step < p.depth; ++step, panel += p.panel_stride) {
    Floats weights[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) weights[v] = floats_at(panel + v * lanes);
#pragma GCC unroll 12
    for (int i = 0; i < pixels; ++i) {
      const auto word = words[i / 4][i % 4 == 3 ? thrice : i % 4 * stride];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sums[i][v] = Word::add(sums[i][v], word, weights[v]);
    }
#pragma GCC unroll 3
    for (int quad = 0; quad < quads; ++quad) ++words[quad];
  }
#pragma GCC unroll 12
  for (int i = 0; i < pixels; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v)
      floats_at(p.sums + i * p.sum_stride + v * lanes) = finish(sums[i][v]);
}

// add_product() for as many pixels, up to panel_pixels, as there are
template <class Word, int vectors = 2, class Finish = Unchanged, int pixels = panel_pixels>
void add_product_of(int64_t count, const PanelProduct& p, const Finish& finish = {}) {
  if constexpr (pixels > 1) {
    if (count < pixels) return add_product_of<Word, vectors, Finish, pixels - 1>(count, p, finish);
  }
  add_product<Word, pixels, vectors>(p, finish);
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
