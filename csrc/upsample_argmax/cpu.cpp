#include "../common/cpu.h"

#include <cstdlib>

#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

// Scratch of one thread, in one allocation
struct Scratch {
  float* scores;     // [C, w] a row of the score map, interpolated vertically
  float* best;       // [w] the highest score of each of its columns
  int* winner;       // [w] and its class
  float* right;      // [W] weight of the right-hand column at each output pixel
  int* run;          // [W + 1] first output pixel of each run
  int* left_column;  // [W] left-hand and right-hand column of each run
  int* right_column;

  explicit Scratch(const UpsampleArgmaxParams& p) {
    const size_t columns = p.width, pixels = p.out_width;
    scores =
        static_cast<float*>(std::malloc(4 * (p.classes * columns + 2 * columns + 4 * pixels + 1)));
    best = scores + p.classes * columns;
    winner = reinterpret_cast<int*>(best + columns);
    right = reinterpret_cast<float*>(winner + columns);
    run = reinterpret_cast<int*>(right + pixels);
    left_column = run + pixels + 1;
    right_column = left_column + pixels;
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
    if (runs > 0 && s.left_column[runs - 1] == x.index[0] && s.right_column[runs - 1] == x.index[1])
      continue;
    s.run[runs] = i;
    s.left_column[runs] = x.index[0];
    s.right_column[runs] = x.index[1];
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
  for (int c = 0; c < p.classes; ++c) {
    const float* plane = p.scores + (image * p.classes + c) * p.height * width;
    const float* __restrict above = plane + int64_t(y.index[0]) * width;
    const float* __restrict below = plane + int64_t(y.index[1]) * width;
    float* __restrict scores = s.scores + int64_t(c) * width;
    float* __restrict best = s.best;
    int* __restrict winner = s.winner;
#pragma omp simd
    for (int x = 0; x < width; ++x) {
      const float value = low * above[x] + high * below[x];
      scores[x] = value;
      const bool wins = c == 0 || value > best[x];
      best[x] = wins ? value : best[x];
      winner[x] = wins ? c : winner[x];
    }
  }
}

// Labels of the output pixels [begin, end) between two columns whose best classes differ, sixteen
// at a time
void label_run(const UpsampleArgmaxParams& p, const Scratch& s, int left, int right, int begin,
               int end, uint8_t* labels) {
  constexpr int stretch = 16;
  using Floats = Vector<float, stretch * sizeof(float)>::type;
  using Ints = Vector<int, stretch * sizeof(int)>::type;
  for (int first = begin; first < end; first += stretch) {
    const int count = end - first < stretch ? end - first : stretch;
    Floats high = {};
    std::memcpy(&high, s.right + first, count * sizeof(float));
    const Floats low = 1 - high;
    const float* scores = s.scores;
    Floats best = scores[left] * low + scores[right] * high;
    Ints winner = {};
    for (int c = 1; c < p.classes; ++c) {
      scores += p.width;
      const Floats value = scores[left] * low + scores[right] * high;
      const Ints wins = value > best;
      best = wins ? value : best;
      winner = wins ? Ints{} + c : winner;
    }
    for (int i = 0; i < count; ++i) labels[first + i] = uint8_t(winner[i]);
  }
}

}  // namespace

void upsample_argmax(const UpsampleArgmaxParams& p, int64_t begin, int64_t end) {
  Scratch scratch(p);
  const int runs = find_runs(p, scratch);
  for (int64_t row = begin; row < end; ++row) {
    const float position = source_position(int(row % p.out_height), p.step_y);
    interpolate_row(p, row / p.out_height, border_axis(position, p.height), scratch);
    uint8_t* labels = p.labels + row * p.out_width;
    // Interpolation keeps between its ends: a class that is best at both is best between them.
    const auto uniform = [&](int run, int label) {
      return run < runs && scratch.winner[scratch.left_column[run]] == label &&
             scratch.winner[scratch.right_column[run]] == label;
    };
    for (int i = 0; i < runs;) {
      const int left = scratch.left_column[i], label = scratch.winner[left], first = scratch.run[i];
      if (uniform(i, label)) {
        while (uniform(i, label)) ++i;
        std::memset(labels + first, label, scratch.run[i] - first);
      } else {
        label_run(p, scratch, left, scratch.right_column[i], first, scratch.run[i + 1], labels);
        ++i;
      }
    }
  }
}

}  // namespace accel_rt::ACCEL_RT_SIMD
