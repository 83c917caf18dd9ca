#include "amx.h"

#include <cstring>

#include "../common/amx.h"
#include "../common/scratch.h"

namespace accel_rt {
namespace {

using Floats = Vector<float, 64>::type;
constexpr int lanes = 16, most_terms = 3;
// Blocks of channels that are warped at a time: they stay in L1 until they are multiplied.
constexpr int part_blocks = 4;

constexpr uint32_t upper_half = 0xffff0000u;

// The terms of the floats in `low` and `high`, side by side in words: what is cut off a term makes
// the next one, so nothing is lost.
inline void split(Floats low, Floats high, AmxRow terms[most_terms]) {
  for (int i = 0; i < most_terms; ++i) {
    const AmxRow low_term = AmxRow(low) & upper_half, high_term = AmxRow(high) & upper_half;
    terms[i] = (low_term >> 16) | high_term;
    low -= Floats(low_term), high -= Floats(high_term);
  }
}

// Which of a block's 32 channels are `low` and `high`: neighbours in one word of bfloat16, or lanes
// of the first and of the second vector of floats
inline void load_block(const float* from, DType dtype, Floats& low, Floats& high) {
  const Floats first = *reinterpret_cast<const Floats*>(from);
  const Floats second = *reinterpret_cast<const Floats*>(from + lanes);
  struct Even {
    static constexpr int lane(int i) { return 2 * i; }
  };
  struct Odd {
    static constexpr int lane(int i) { return 2 * i + 1; }
  };
  const bool pairs = dtype == DType::bf16;
  low = pairs ? shuffled<Even>(first, second) : first;
  high = pairs ? shuffled<Odd>(first, second) : second;
}

// The four taps of a pixel and their weights
struct Source {
  const void* image;
  Corners<float> at;
};

Source source_of(const WarpScoreParams& p, int64_t pixel) {
  const Pixel at = pixel_at(pixel, p.height, p.width);
  const float* flow = static_cast<const float*>(p.flow) + 2 * pixel;
  const Axis<float> x = border_axis(float(at.x) + flow[0], p.width);
  const Axis<float> y = border_axis(float(at.y) + flow[1], p.height);
  const int64_t first = at.image * p.height * p.width * p.depth;
  const int size = p.dtype == DType::bf16 ? 2 : 4;
  return {static_cast<const char*>(p.cache) + first * size,
          corners(y, x, int64_t(p.width) * p.depth, p.depth)};
}

inline void add_block(const float* from, const Floats& weight, Floats& low, Floats& high) {
  low += weight * *reinterpret_cast<const Floats*>(from);
  high += weight * *reinterpret_cast<const Floats*>(from + lanes);
}

inline void add_block(const BFloat16* from, const Floats& weight, Floats& low, Floats& high) {
  AmxRow pair;  // copied: it lies at any even address
  std::memcpy(&pair, from, sizeof pair);
  low += weight * Floats(pair << 16);
  high += weight * Floats(pair & upper_half);
}

// NaN stays.
inline Floats rectified(const Floats& x) {
  return Floats(_mm512_mask_max_ps(__m512(x), 0xffff, _mm512_setzero_ps(), __m512(x)));
}

// Prefetches `blocks` blocks of a pixel's taps: the runs are too short for the hardware prefetcher.
template <class T>
inline void fetch(const Source& from, int channel, int blocks) {
  constexpr int step = 64 / sizeof(T);
  for (int k = 0; k < 4; ++k)
    for (int i = 0; i < blocks * amx_block; i += step)
      __builtin_prefetch(static_cast<const T*>(from.image) + from.at.offset[k] + channel + i, 0, 2);
}

// Warps and rectifies `blocks` blocks of a pixel's channels.
template <class T>
inline void warp(const Source& from, int channel, int blocks, BFloat16* features) {
  const T* tap[4];  // of their own, since the stores below could change what `from` refers to
  Floats weight[4];
  for (int k = 0; k < 4; ++k) {
    tap[k] = static_cast<const T*>(from.image) + from.at.offset[k] + channel;
    weight[k] = Floats{} + from.at.weight[k];
  }
  for (int block = 0; block < blocks; ++block, features += amx_elements) {
    Floats low = {}, high = {};
    for (int k = 0; k < 4; ++k) add_block(tap[k] + block * amx_block, weight[k], low, high);
    AmxRow terms[most_terms];
    split(rectified(low), rectified(high), terms);
    for (int i = 0; i < most_terms; ++i)
      *reinterpret_cast<AmxRow*>(features + i * part_blocks * amx_elements) = terms[i];
  }
}

template <class T>
void score(const WarpScoreParams& p, int weight_terms, int64_t begin, int64_t end) {
  const int depth_blocks = p.depth / amx_block;
  const int groups = (p.classes + amx_block - 1) / amx_block;
  alignas(64) BFloat16 features[most_terms * part_blocks * amx_elements];
  float* sums;
  const Scratch memory(array(sums, int64_t(groups) * amx_elements));
  Source sources[amx_block], next[amx_block];
  const auto look_at = [&](int64_t first, Source* at) {
    for (int i = 0; i < amx_block; ++i) at[i] = source_of(p, first + i < end ? first + i : end - 1);
  };
  const auto blocks_at = [&](int block) {
    return depth_blocks - block < part_blocks ? depth_blocks - block : part_blocks;
  };
  const AmxTiles tiles;
  look_at(begin, next);
  for (int64_t first = begin; first < end; first += amx_block) {
    std::memcpy(sources, next, sizeof sources);
    look_at(first + amx_block, next);
    for (int block = 0; block < depth_blocks; block += part_blocks) {
      const int left = depth_blocks - block, blocks = blocks_at(block);
      for (int i = 0; i < amx_block; ++i) {
        if (left > blocks)
          fetch<T>(sources[i], (block + blocks) * amx_block, blocks_at(block + blocks));
        else
          fetch<T>(next[i], 0, blocks_at(0));
        warp<T>(sources[i], block * amx_block, blocks, features + i * amx_block);
      }
      for (int group = 0; group < groups; ++group) {
        float* sum = sums + group * amx_elements;
        block > 0 ? amx_load(sum) : amx_clear();
        for (int i = 0; i < weight_terms; ++i) {
          const BFloat16* weight =
              static_cast<const BFloat16*>(p.weight) +
              (int64_t(group * weight_terms + i) * depth_blocks + block) * amx_elements;
          for (int j = 0; i + j < most_terms; ++j)
            amx_add(features + j * part_blocks * amx_elements, weight, blocks);
        }
        amx_store(sum);
      }
    }
    const int pixels = end - first < amx_block ? int(end - first) : amx_block;
    const float* bias = static_cast<const float*>(p.bias);
    for (int i = 0; i < pixels; ++i) {
      float* scores = static_cast<float*>(p.scores) + (first + i) * p.classes;
      for (int c = 0; c < p.classes; ++c)
        scores[c] = sums[c / amx_block * amx_elements + i * amx_block + c % amx_block] + bias[c];
    }
  }
}

}  // namespace

bool warp_score_amx_fits(DType dtype, int64_t depth) {
  return dtype != DType::f64 && depth % amx_block == 0;
}

int64_t warp_score_amx_packed(int64_t classes, int64_t depth, int terms) {
  return (classes + amx_block - 1) / amx_block * amx_block * depth * terms;
}

void warp_score_amx_pack(const float* weight, void* packed, DType dtype, int64_t classes,
                         int64_t depth, int terms) {
  const int64_t blocks = depth / amx_block;
  const int64_t rounded = (classes + amx_block - 1) / amx_block * amx_block;
  for (int64_t first = 0; first < rounded; first += lanes)
    for (int64_t block = 0; block < blocks; ++block) {
      AmxRow rows[most_terms][lanes] = {};
      for (int i = 0; i < lanes && first + i < classes; ++i) {
        Floats low, high;
        load_block(weight + (first + i) * depth + block * amx_block, dtype, low, high);
        AmxRow of_class[most_terms];
        split(low, high, of_class);
        for (int term = 0; term < terms; ++term) rows[term][i] = of_class[term];
      }
      const int64_t group = first / amx_block, half = first % amx_block / lanes;
      for (int term = 0; term < terms; ++term) {
        transpose(rows[term]);
        std::memcpy(static_cast<BFloat16*>(packed) +
                        ((group * terms + term) * blocks + block) * amx_elements +
                        half * amx_elements / 2,
                    rows[term], sizeof rows[term]);
      }
    }
}

void warp_score_amx(const WarpScoreParams& p, int terms, int64_t begin, int64_t end) {
  p.dtype == DType::bf16 ? score<BFloat16>(p, terms, begin, end)
                         : score<float>(p, terms, begin, end);
}

}  // namespace accel_rt
