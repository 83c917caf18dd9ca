#include "../common/cpu.h"

#include <limits>
#include <type_traits>
#include <utility>

#include "../common/scratch.h"
#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

// Pixels labelled at once, in vectors of the instruction set's width: the compiler would split
// wider ones lane by lane.
constexpr int stretch = 16;
constexpr int lanes = Vector<float>::lanes;
constexpr int parts = stretch / lanes;
using Floats = Vector<float>::type;
using Ints = Vector<int>::type;

// One thread's working memory
struct Workspace {
  int stride;            // from class to class: w columns, the last of them once more, whole lines
  float *above, *below;  // [C, stride] the two rows of the score map in use
  int64_t above_row = -1, below_row = -1;  // which, of all images'
  float* scores;                           // [C, stride] what is between them, interpolated
  float* best;                             // [stride] the best score of each column
  int* winner;                             // [stride] and whose it is
  float* crossing;       // [stride] where between a column and the next their winners are equal
  float* level;          // [stride] and their score there
  uint32_t* candidates;  // [C / 32, w] a bit for each class that may be best in between
  float* right;          // [W + stretch] weight of the right-hand column at each output pixel
  int* run;              // [W + 1] first output pixel of each run
  int* left_column;      // [W] left-hand column of each run; the right-hand one is its neighbour

  explicit Workspace(const UpsampleArgmaxParams& p)
      : stride((p.width + 16) / 16 * 16),
        memory_(array(above, int64_t(p.classes) * stride),
                array(below, int64_t(p.classes) * stride),
                array(scores, int64_t(p.classes) * stride), array(best, stride),
                array(winner, stride), array(crossing, stride), array(level, stride),
                array(candidates, int64_t(p.classes + 31) / 32 * stride),
                array(right, int64_t(p.out_width) + stretch), array(run, int64_t(p.out_width) + 1),
                array(left_column, p.out_width)) {
    std::memset(right + p.out_width, 0, stretch * sizeof(float));
  }

 private:
  Scratch memory_;
};

// Splits a row of output pixels into runs that lie between the same two columns of the score map.
int find_runs(const UpsampleArgmaxParams& p, Workspace& s) {
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

// Calls function(x, vector, count) for `count` vectors of columns at a time; the last call overlaps
// the one before. Rows too short for that take fewer vectors, or single columns.
template <int count, class F>
inline void for_columns(int width, F&& function) {
  using Wide = Vector<float>;
  constexpr int step = count * Wide::lanes;
  if (width >= step) {
    const std::integral_constant<int, count> vectors;
    for (int x = 0; x < width - step; x += step) function(x, Wide{}, vectors);
    function(width - step, Wide{}, vectors);
  } else if constexpr (count > 1) {
    for_columns<count / 2>(width, function);
  } else {
    for (int x = 0; x < width; ++x)
      function(x, Vector<float, 4>{}, std::integral_constant<int, 1>{});
  }
}

// Gathers a row of the map from its classes' planes: read in place, at the stride of a plane, they
// would evict each other from L1. Numbers all, from here on.
void load_row(const UpsampleArgmaxParams& p, int64_t row, int stride, float* to) {
  const int64_t plane = int64_t(p.height) * p.width, image = row / p.height;
  const float* from = p.scores + image * p.classes * plane + row % p.height * p.width;
  for (int c = 0; c < p.classes; ++c, from += plane, to += stride)
#pragma omp simd
    for (int x = 0; x < p.width; ++x) to[x] = finite_score(from[x]);
}

// Loads the two rows of the map around `y`, unless the output row before lay between the same two.
void load_rows(const UpsampleArgmaxParams& p, int64_t image, const Axis<float>& y, Workspace& s) {
  const int64_t above = image * p.height + y.index[0], below = image * p.height + y.index[1];
  if (above == s.below_row) {
    std::swap(s.above, s.below);
    std::swap(s.above_row, s.below_row);
  }
  if (above != s.above_row) load_row(p, s.above_row = above, s.stride, s.above);
  if (below != s.below_row) load_row(p, s.below_row = below, s.stride, s.below);
}

// scores[c][x] between two rows of the map, and each column's best class (the first, if tied)
void interpolate_row(const UpsampleArgmaxParams& p, const Axis<float>& y, Workspace& s) {
  const int width = p.width;
  const float low = y.weight[0], high = y.weight[1];
  // Independent chains of comparisons, which the processor runs in parallel
  for_columns<4>(width, [&](int x, auto vector, auto count) {
    constexpr int bytes = sizeof(typename decltype(vector)::type), parts = decltype(count)::value;
    using Floats = typename Vector<float, bytes>::type;
    using Ints = typename Vector<int, bytes>::type;
    const float *above = s.above + x, *below = s.below + x;
    float* scores = s.scores + x;
    Floats best[parts] = {};
    Ints winner[parts] = {};
    for (int c = 0; c < p.classes; ++c, above += s.stride, below += s.stride, scores += s.stride)
      for (int part = 0; part < parts; ++part) {
        const Floats value = low * reinterpret_cast<const Floats*>(above)[part] +
                             high * reinterpret_cast<const Floats*>(below)[part];
        reinterpret_cast<Floats*>(scores)[part] = value;
        const Ints wins = c == 0 ? ~Ints{} : value > best[part];
        best[part] = wins ? value : best[part];
        winner[part] = wins ? Ints{} + c : winner[part];
      }
    std::memcpy(s.best + x, best, sizeof best);
    std::memcpy(s.winner + x, winner, sizeof winner);
  });
  for (int c = 0; c < p.classes; ++c) {
    float* row = s.scores + int64_t(c) * s.stride;
    row[width] = row[width - 1];
  }
  s.best[width] = s.best[width - 1];
  s.winner[width] = s.winner[width - 1];
}

// Between two columns every class's score is linear. A third class can win in between only if it is
// above the two end winners where their lines cross, the minimum of their maximum.
void find_candidates(const UpsampleArgmaxParams& p, Workspace& s) {
  const int width = p.width, stride = s.stride;
  const float* __restrict scores = s.scores;
  const int* __restrict winner = s.winner;
  const float* __restrict best = s.best;
  float* __restrict crossing = s.crossing;
  float* __restrict level = s.level;
  // First the score of each end's winner at the other end
  for (int x = 0; x < width; ++x) {
    crossing[x] = scores[winner[x + 1] * stride + x];
    level[x] = scores[winner[x] * stride + x + 1];
  }
#pragma omp simd
  for (int x = 0; x < width; ++x) {
    const float before = best[x] - crossing[x], after = best[x + 1] - level[x];
    const float sum = before + after;
    crossing[x] = sum > 0.0f ? before / sum : 0.0f;
    level[x] = best[x] + crossing[x] * (level[x] - best[x]);
  }
  for (int first = 0; first < p.classes; first += 32) {
    uint32_t* __restrict candidates = s.candidates + first / 32 * width;
    for_columns<1>(width, [&](int x, auto vector, auto) {
      constexpr int bytes = sizeof(typename decltype(vector)::type);
      using Floats = typename Vector<float, bytes>::type;
      using Ints = typename Vector<int, bytes>::type;
      const Floats at = *reinterpret_cast<const Floats*>(crossing + x);
      const Floats least = *reinterpret_cast<const Floats*>(level + x);
      // The winners themselves, which rounding could have put below
      const Ints left = *reinterpret_cast<const Ints*>(winner + x) - first;
      const Ints right = *reinterpret_cast<const Ints*>(winner + x + 1) - first;
      const auto bit_of = [](const Ints& c) {
        return ((c >= 0) & (c < 32)) ? (Ints{} + 1) << (c & 31) : Ints{};
      };
      Ints found = bit_of(left) | bit_of(right);
      const float* row = scores + int64_t(first) * stride + x;
      for (int c = first; c < p.classes && c < first + 32; ++c, row += stride) {
        const Floats here = *reinterpret_cast<const Floats*>(row);
        const Floats next = *reinterpret_cast<const Floats*>(row + 1);
        found |= here + at * (next - here) < least ? Ints{} : Ints{} + int(1u << (c - first));
      }
      *reinterpret_cast<Ints*>(candidates + x) = found;
    });
  }
}

// Copies the first `count` of a stretch; a whole one, which is usual, in one piece.
template <class T>
inline void copy_stretch(T* to, const T* from, int count) {
  if (count == stretch)
    std::memcpy(to, from, stretch * sizeof(T));
  else
    for (int i = 0; i < count; ++i) to[i] = from[i];
}

// The best class so far at each pixel of a vector, and (with margins) the second best score
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
void label_run(const UpsampleArgmaxParams& p, const Workspace& s, int left, int begin, int end,
               int64_t row) {
  for (int first = begin; first < end; first += stretch) {
    const int count = end - first < stretch ? end - first : stretch;
    const Floats* right = reinterpret_cast<const Floats*>(s.right + first);
    Top<margins> top[parts], later[parts];
    const auto meet = [&](Top<margins>* of, int c, const Ints& label) {
      const float* score = s.scores + int64_t(c) * s.stride + left;
      const float slope = score[1] - score[0];
      for (int part = 0; part < parts; ++part) of[part].meet(*score + slope * right[part], label);
    };
    if (margins) {
      // Each half of the classes finds its best: independent chains of comparisons, in parallel.
      const int half = p.classes / 2;
      Ints label = {}, later_label = Ints{} + half;
      for (int c = 0; c < half; ++c, label += 1, later_label += 1) {
        meet(top, c, label);
        meet(later, half + c, later_label);
      }
      if (p.classes % 2 != 0) meet(later, p.classes - 1, later_label);
      for (int part = 0; part < parts; ++part) top[part].meet(later[part]);
    } else {
      for (int first = 0; first < p.classes; first += 32) {
        uint32_t bits = s.candidates[first / 32 * p.width + left];
        // Two per iteration, an odd one twice: fewer mispredicted loop exits.
        while (bits != 0) {
          const int c = first + __builtin_ctz(bits);
          bits &= bits - 1;
          const int next = bits != 0 ? first + __builtin_ctz(bits) : c;
          bits &= bits - 1;
          meet(top, c, Ints{} + c);
          meet(top, next, Ints{} + next);
        }
      }
    }

    int winners[stretch];
    float leads[stretch];
    for (int part = 0; part < parts; ++part) {
      std::memcpy(winners + part * lanes, &top[part].winner, sizeof(Ints));
      const Floats lead = top[part].best - top[part].second;
      if (margins) std::memcpy(leads + part * lanes, &lead, sizeof(Floats));
    }
    uint8_t labels[stretch];
    for (int i = 0; i < stretch; ++i) labels[i] = uint8_t(winners[i]);
    const int64_t at = row * p.out_width + first;
    copy_stretch(p.labels + at, labels, count);
    if (margins) copy_stretch(p.margins + at, leads, count);
  }
}

template <bool margins>
void label_row(const UpsampleArgmaxParams& p, const Workspace& s, int runs, int64_t row) {
  uint8_t* labels = p.labels + row * p.out_width;
  // Interpolation is linear: a class that wins at both ends wins in between.
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
  Workspace workspace(p);
  const int runs = find_runs(p, workspace);
  for (int64_t row = begin; row < end; ++row) {
    const float position = source_position(int(row % p.out_height), p.step_y);
    const Axis<float> y = border_axis(position, p.height);
    load_rows(p, row / p.out_height, y, workspace);
    interpolate_row(p, y, workspace);
    if (!margins) find_candidates(p, workspace);
    label_row<margins>(p, workspace, runs, row);
  }
}

}  // namespace

void upsample_argmax(const UpsampleArgmaxParams& p, int64_t begin, int64_t end) {
  p.margins == nullptr ? upsample<false>(p, begin, end) : upsample<true>(p, begin, end);
}

}  // namespace accel_rt::ACCEL_RT_SIMD
