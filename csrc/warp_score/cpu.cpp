#include "../common/cpu.h"

#include <cstdlib>
#include <type_traits>

#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

// Pixels scored at once, each for up to vector_block vectors of classes. The sums stay in registers
// beside a vector of weights each: 32 of them hold eight pixels, 16 hold four.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int pixel_block = 8;
#else
constexpr int pixel_block = 4;
#endif
constexpr int vector_block = 3;
// Some processors work on half of 64 bytes at a time: for them half a vector is half the work.
constexpr int last_bytes = vector_bytes == 64 ? 32 : vector_bytes;

// A line more than there are: where they are a power of two, a feature of all pixels would else
// share a few places in the innermost cache.
template <class A>
inline int64_t feature_stride(int depth) {
  return depth + int64_t(64 / sizeof(A));
}

// What a pixel is blended from
template <class T, class A>
struct Source {
  const T* image;
  Corners<A> at;
};

// scores[i] = bias + features[i] . weight for `vectors` vectors of classes and a Last one, which
// may be half as wide; `classes` of them are there. Features of pixels lie feature_stride(depth)
// apart, rows of weight `stride`, scores `width`. Memory meanwhile brings what the `next` pixels
// are blended from: their rows are too short for the processor to see them coming.
template <int vectors, class Last, class T, class A>
inline void multiply(const A* features, int depth, const A* weight, int stride, const A* bias,
                     int pixels, A* scores, int width, int classes, const Source<T, A>* next) {
  using V = typename Vector<A>::type;
  constexpr int lanes = Vector<A>::lanes;
  constexpr int line = 64 / sizeof(T);
  V sum[pixel_block][vectors > 0 ? vectors : 1] = {};
  Last last_sum[pixel_block] = {};
  for (int first = 0; first < depth; first += line) {
    for (int i = 0; i < pixel_block; ++i)
      for (int k = 0; k < 4; ++k)
        __builtin_prefetch(next[i].image + next[i].at.offset[k] + first, 0, 2);
    const int last = first + line < depth ? first + line : depth;
    for (int k = first; k < last; ++k) {
      const V* row = reinterpret_cast<const V*>(weight + int64_t(k) * stride);
      const Last last_row = *reinterpret_cast<const Last*>(row + vectors);
      for (int i = 0; i < pixel_block; ++i) {
        const A feature = features[i * feature_stride<A>(depth) + k];
        for (int j = 0; j < vectors; ++j) sum[i][j] += feature * row[j];
        last_sum[i] += feature * last_row;
      }
    }
  }
  for (int i = 0; i < pixels; ++i) {
    A lane[(vectors + 1) * lanes];
    std::memcpy(lane, sum[i], vectors * sizeof(V));
    std::memcpy(lane + vectors * lanes, &last_sum[i], sizeof(Last));
    for (int c = 0; c < classes; ++c) scores[int64_t(i) * width + c] = lane[c] + bias[c];
  }
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

// The warped, rectified features of one pixel
template <class T, class A>
inline void warp_pixel(const Source<T, A>& from, int depth, A* features) {
  blend(features, from.image, from.at, depth);
#pragma omp simd
  for (int k = 0; k < depth; ++k) features[k] = features[k] < A(0) ? A(0) : features[k];
}

template <class T>
void score(const WarpScoreParams& p, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  constexpr int lanes = Vector<A>::lanes;
  const int stride = padded(p.classes, score_vector_step);
  // Zeroed, since a last block of fewer pixels is multiplied whole
  A* features =
      static_cast<A*>(std::calloc(size_t(pixel_block * feature_stride<A>(p.depth)), sizeof(A)));
  Source<T, A> sources[pixel_block];
  const auto look_at = [&](int64_t first) {
    for (int i = 0; i < pixel_block; ++i)
      sources[i] = source_of<T, A>(p, first + i < end ? first + i : end - 1);
  };
  look_at(begin);
  for (int64_t first = begin; first < end; first += pixel_block) {
    const int pixels = end - first < pixel_block ? int(end - first) : pixel_block;
    for (int i = 0; i < pixels; ++i)
      warp_pixel(sources[i], p.depth, features + i * feature_stride<A>(p.depth));
    look_at(first + pixel_block);
    const auto multiply_by = [&](auto vectors, auto last, int c, int classes) {
      multiply<decltype(vectors)::value, decltype(last)>(
          features, p.depth, static_cast<const A*>(p.weight) + c, stride,
          static_cast<const A*>(p.bias) + c, pixels,
          static_cast<A*>(p.scores) + first * p.classes + c, p.classes, classes, sources);
    };
    const auto multiply_up_to = [&](auto vectors, int c, int classes) {
      constexpr int most = decltype(vectors)::value * lanes + last_bytes / int(sizeof(A));
      if (classes <= most)
        multiply_by(vectors, typename Vector<A, last_bytes>::type{}, c, classes);
      else
        multiply_by(vectors, typename Vector<A>::type{}, c, classes);
    };
    for (int c = 0; c < p.classes; c += vector_block * lanes) {
      const int left = p.classes - c;
      if (left <= lanes)
        multiply_up_to(std::integral_constant<int, 0>{}, c, left);
      else if (left <= 2 * lanes)
        multiply_up_to(std::integral_constant<int, 1>{}, c, left);
      else
        multiply_up_to(std::integral_constant<int, 2>{}, c, left < 3 * lanes ? left : 3 * lanes);
    }
  }
  std::free(features);
}

}  // namespace

void warp_score(const WarpScoreParams& p, int64_t begin, int64_t end) {
  for_dtype(p.dtype, [&](auto type) { score<decltype(type)>(p, begin, end); });
}

}  // namespace accel_rt::ACCEL_RT_SIMD
