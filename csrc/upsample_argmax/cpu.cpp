#include "../common/cpu.h"

#include <cstdlib>
#include <limits>

#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

// Scratch of one thread, in one allocation
struct Scratch {
  int stride;        // from class to class: w columns, and the last of them once more
  float* scores;     // [C, stride] a row of the score map, interpolated vertically
  float* best;       // [stride] the highest score of each of its columns
  int* winner;       // [stride] and its class
  float* right;      // [W] weight of the right-hand column at each output pixel
  int* run;          // [W + 1] first output pixel of each run
  int* left_column;  // [W] left-hand column of each run; the right-hand one is its neighbour

  explicit Scratch(const UpsampleArgmaxParams& p) : stride(p.width + 1) {
    const size_t columns = stride, pixels = p.out_width;
    scores =
        static_cast<float*>(std::malloc(4 * (p.classes * columns + 2 * columns + 3 * pixels + 1)));
    best = scores + p.classes * columns;
    winner = reinterpret_cast<int*>(best + columns);
    right = best + 2 * columns;
    run = reinterpret_cast<int*>(right + pixels);
    left_column = run + pixels + 1;
  }
  ~Scratch() { std::free(scores); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

// Splits a row of output pixels into runs that lie between the same two columns of the score map.
int find_runs(const UpsampleArgmaxParams& p, Scratch& s) {
  int runs = 0;
  for (int i = 0; i < p.out_width; ++i) {
    const Axis<float> x = border_axis(source_position(i, p.step_x), p.width);
    s.right[i] = x.weight[1];
    if (runs > 0 && s.left_column[runs - 1] == x.index[0]) continue;
    s.run[runs] = i;
    s.left_column[runs] = x.index[0];
    ++runs;
  }
  s.run[runs] = p.out_width;
  return runs;
}

// scores[c][x] between two rows of the map, and each column's best class (the first, if tied)
void interpolate_row(const UpsampleArgmaxParams& p, int64_t image, const Axis<float>& y,
                     Scratch& s) {
  const int width = p.width;
  const float low = y.weight[0], high = y.weight[1];
  float* __restrict best = s.best;
  int* __restrict winner = s.winner;
  for (int c = 0; c < p.classes; ++c) {
    const float* plane = p.scores + (image * p.classes + c) * p.height * width;
    const float* __restrict above = plane + int64_t(y.index[0]) * width;
    const float* __restrict below = plane + int64_t(y.index[1]) * width;
    float* __restrict scores = s.scores + int64_t(c) * s.stride;
#pragma omp simd
    for (int x = 0; x < width; ++x) {
      const float value = low * above[x] + high * below[x];
      scores[x] = value;
      const bool wins = c == 0 || value > best[x];
      best[x] = wins ? value : best[x];
      winner[x] = wins ? c : winner[x];
    }
    scores[width] = scores[width - 1];
  }
  winner[width] = winner[width - 1];
}

constexpr int stretch = 16;  // pixels labelled at once
using Floats = Vector<float, stretch * sizeof(float)>::type;
using Ints = Vector<int, stretch * sizeof(int)>::type;
using Bytes = Vector<uint8_t, stretch>::type;

// Copies the first `count` of a stretch; a whole one, which is usual, in one piece.
template <class T>
inline void copy_lanes(T* to, const T* from, int count) {
  if (count == stretch)
    std::memcpy(to, from, stretch * sizeof(T));
  else
    for (int i = 0; i < count; ++i) to[i] = from[i];
}

// The best class so far at each pixel of a stretch, and (with margins) the second best score
template <bool margins>
struct Top {
  Floats best = Floats{} - std::numeric_limits<float>::infinity(), second = best;
  Ints winner = {};

  inline void meet(const Floats& value, const Ints& label) {
    const Ints wins = value > best;
    if (margins) {
      const Floats loser = wins ? best : value;
      second = loser > second ? loser : second;
    }
    best = wins ? value : best;
    winner = wins ? label : winner;
  }

  inline void meet(const Top& later) {
    meet(later.best, later.winner);
    if (margins) second = later.second > second ? later.second : second;
  }
};

// Labels (and margins) of the output pixels [begin, end) of a row, right of column `left`
template <bool margins>
void label_run(const UpsampleArgmaxParams& p, const Scratch& s, int left, int begin, int end,
               int64_t row) {
  for (int first = begin; first < end; first += stretch) {
    const int count = end - first < stretch ? end - first : stretch;
    Floats high = {};
    copy_lanes(reinterpret_cast<float*>(&high), s.right + first, count);
    const Floats low = 1 - high;
    // Each half of the classes finds its best: two chains of comparisons that need not wait for
    // each other.
    Top<margins> top, later;
    const int half = p.classes / 2;
    const auto meet = [&](Top<margins>& of, int c) {
      const float* ends = s.scores + int64_t(c) * s.stride + left;
      of.meet(ends[0] * low + ends[1] * high, Ints{} + c);
    };
    for (int c = 0; c < half; ++c) {
      meet(top, c);
      meet(later, half + c);
    }
    if (p.classes % 2 != 0) meet(later, p.classes - 1);
    top.meet(later);

    const int64_t at = row * p.out_width + first;
    const Bytes labels = __builtin_convertvector(top.winner, Bytes);
    copy_lanes(p.labels + at, reinterpret_cast<const uint8_t*>(&labels), count);
    if (margins) {
      const Floats lead = top.best - top.second;
      copy_lanes(p.margins + at, reinterpret_cast<const float*>(&lead), count);
    }
  }
}

template <bool margins>
void label_row(const UpsampleArgmaxParams& p, const Scratch& s, int runs, int64_t row) {
  uint8_t* labels = p.labels + row * p.out_width;
  // Interpolation keeps between its ends: a class that is best at both is best between them.
  const auto uniform = [&](int run, int label) {
    return !margins && run < runs && s.winner[s.left_column[run]] == label &&
           s.winner[s.left_column[run] + 1] == label;
  };
  for (int i = 0; i < runs;) {
    const int left = s.left_column[i], label = s.winner[left], first = s.run[i];
    if (uniform(i, label)) {
      while (uniform(i, label)) ++i;
      std::memset(labels + first, label, s.run[i] - first);
    } else {
      label_run<margins>(p, s, left, first, s.run[i + 1], row);
      ++i;
    }
  }
}

template <bool margins>
void upsample(const UpsampleArgmaxParams& p, int64_t begin, int64_t end) {
  Scratch scratch(p);
  const int runs = find_runs(p, scratch);
  for (int64_t row = begin; row < end; ++row) {
    const float position = source_position(int(row % p.out_height), p.step_y);
    interpolate_row(p, row / p.out_height, border_axis(position, p.height), scratch);
    label_row<margins>(p, scratch, runs, row);
  }
}

}  // namespace

void upsample_argmax(const UpsampleArgmaxParams& p, int64_t begin, int64_t end) {
  p.margins == nullptr ? upsample<false>(p, begin, end) : upsample<true>(p, begin, end);
}

}  // namespace accel_rt::ACCEL_RT_SIMD
