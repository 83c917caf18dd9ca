#include "../common/cpu.h"

#include "../common/scratch.h"
#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

// A block of sums, pixels by classes, stays in registers beside a vector of each pixel's features.
// Each sum is a vector whose lanes are added at the end. There are 32 registers with vectors of 64
// bytes, else 16.
constexpr int pixel_block = vector_bytes == 64 ? 5 : 3;
constexpr int class_block = vector_bytes == 64 ? 5 : 4;

// Padded by a cache line: at a power-of-two stride a channel of all pixels would fall into the same
// few sets of L1.
template <class A>
inline int64_t feature_stride(int depth) {
  return depth + int64_t(64 / sizeof(A));
}

// Feature maps below this size already sit in L2 or L3; prefetching them only costs.
constexpr int64_t large_bytes = int64_t(8) << 20;

// The four taps of a pixel and their weights
template <class T, class A>
struct Source {
  const T* image;
  Corners<A> at;
};

// sums[i * class_stride + c] = products of the features of pixel i and weight row c, a vector of
// channels at a time. Features of pixels lie feature_stride(depth) apart. Meanwhile the taps of the
// `next` pixels, if any, are prefetched: their runs are too short for the hardware prefetcher.
template <int classes, class T, class A, class V = typename Vector<A>::type>
inline void multiply(const A* features, int depth, const A* weight, V* sums, int class_stride,
                     const Source<T, A>* next) {
  V sum[pixel_block][classes] = {};
  for (int k = 0; k < depth; k += Vector<A>::lanes) {
    if (next != nullptr)
      for (int i = 0; i < pixel_block; ++i)
        for (int tap = 0; tap < 4; ++tap)
          __builtin_prefetch(next[i].image + next[i].at.offset[tap] + k, 0, 2);
    V feature[pixel_block];
    for (int i = 0; i < pixel_block; ++i)
      feature[i] = *reinterpret_cast<const V*>(features + i * feature_stride<A>(depth) + k);
    for (int c = 0; c < classes; ++c) {
      const V row = *reinterpret_cast<const V*>(weight + int64_t(c) * depth + k);
      for (int i = 0; i < pixel_block; ++i) sum[i][c] += feature[i] * row;
    }
  }
  for (int i = 0; i < pixel_block; ++i)
    for (int c = 0; c < classes; ++c) sums[i * class_stride + c] = sum[i][c];
}

// multiply() for as many classes, up to class_block, as there are
template <int classes = class_block, class... Arguments>
inline void multiply_of(int count, const Arguments&... arguments) {
  if constexpr (classes > 1) {
    if (count < classes) return multiply_of<classes - 1>(count, arguments...);
  }
  multiply<classes>(arguments...);
}

template <class T, class A>
inline Source<T, A> source_of(const WarpScoreParams& p, int64_t pixel) {
  const Pixel at = pixel_at(pixel, p.height, p.width);
  const A* flow = static_cast<const A*>(p.flow) + 2 * pixel;
  const Axis<A> x = border_axis(A(at.x) + flow[0], p.width);
  const Axis<A> y = border_axis(A(at.y) + flow[1], p.height);
  return {static_cast<const T*>(p.cache) + at.image * p.height * p.width * p.depth,
          corners(y, x, int64_t(p.width) * p.depth, p.depth)};
}

// The warped, rectified features of one pixel. Taps of weight zero are read from `zeros` [depth].
template <class T, class A>
inline void warp_pixel(const Source<T, A>& source, const T* zeros, int depth, A* features) {
  using V = typename Vector<A>::type;
  constexpr int lanes = Vector<A>::lanes;
  const T* tap[4];
  V weight[4];
  for (int i = 0; i < 4; ++i) {
    tap[i] = source.at.weight[i] != A(0) ? source.image + source.at.offset[i] : zeros;
    weight[i] = V{} + source.at.weight[i];
  }
  const V zero = {};
  int k = 0;
  for (; k + lanes <= depth; k += lanes) {
    V sum = weight[0] * load_vector(tap[0] + k);
    for (int i = 1; i < 4; ++i) sum += weight[i] * load_vector(tap[i] + k);
    *reinterpret_cast<V*>(features + k) = sum < zero ? zero : sum;  // NaN stays
  }
  for (; k < depth; ++k) {
    A sum = 0;
    for (int i = 0; i < 4; ++i) sum += source.at.weight[i] * load(tap[i][k]);
    features[k] = sum < A(0) ? A(0) : sum;
  }
}

template <class T>
void score(const WarpScoreParams& p, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  using V = typename Vector<A>::type;
  constexpr int lanes = Vector<A>::lanes;
  const int depth = padded(p.depth, score_depth_step), classes = padded(p.classes, lanes);
  T* zeros;
  A* features;
  V* sums;
  const int64_t feature_count = pixel_block * feature_stride<A>(depth);
  const int64_t sum_count = int64_t(pixel_block) * classes;
  const Scratch memory(array(zeros, p.depth), array(features, feature_count),
                       array(sums, sum_count));
  std::memset(static_cast<void*>(zeros), 0, p.depth * sizeof(T));
  // Zeroed, since there may be fewer pixels, channels and classes than are computed
  std::memset(features, 0, feature_count * sizeof(A));
  std::memset(sums, 0, sum_count * sizeof(V));
  const int class_blocks = (p.classes + class_block - 1) / class_block;
  const bool is_large = p.images * p.height * p.width * p.depth * int64_t(sizeof(T)) >= large_bytes;
  Source<T, A> sources[pixel_block];
  const auto look_at = [&](int64_t first) {
    for (int i = 0; i < pixel_block; ++i)
      sources[i] = source_of<T, A>(p, first + i < end ? first + i : end - 1);
  };
  look_at(begin);
  for (int64_t first = begin; first < end; first += pixel_block) {
    const int pixels = end - first < pixel_block ? int(end - first) : pixel_block;
    for (int i = 0; i < pixels; ++i)
      warp_pixel(sources[i], zeros, p.depth, features + i * feature_stride<A>(depth));
    look_at(first + pixel_block);
    for (int block = 0, c = 0; block < class_blocks; ++block) {
      const int count = (p.classes - c) / (class_blocks - block);  // all of much the same size
      multiply_of(count, features, depth, static_cast<const A*>(p.weight) + int64_t(c) * depth,
                  sums + c, classes, block == 0 && is_large ? sources : nullptr);
      c += count;
    }
    for (int i = 0; i < pixels; ++i) {
      A* scores = static_cast<A*>(p.scores) + (first + i) * p.classes;
      const A* bias = static_cast<const A*>(p.bias);
      for (int c = 0; c < p.classes; c += lanes) {
        V rows[lanes];
        std::memcpy(rows, sums + i * classes + c, sizeof rows);
        const V total = lane_sums<A>(rows);
        for (int lane = 0; lane < lanes && c + lane < p.classes; ++lane)
          scores[c + lane] = total[lane] + bias[c + lane];
      }
    }
  }
}

}  // namespace

void warp_score(const WarpScoreParams& p, int64_t begin, int64_t end) {
  for_dtype(p.dtype, [&](auto type) { score<decltype(type)>(p, begin, end); });
}

}  // namespace accel_rt::ACCEL_RT_SIMD
