#include "../common/cpu.h"

#include <cstdlib>

#include "kernel.h"

namespace accel_rt::ACCEL_RT_SIMD {
namespace {

// Sixteen vector accumulators and their operands fit 32 registers, eight fit 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int class_block = 4;
#else
constexpr int class_block = 2;
#endif
constexpr int pixel_block = 4;
static_assert(score_class_step % class_block == 0);

// products[i][j] = features[i] . weight[j] for pixel_block rows of features and class_block of
// weight, both `depth` apart.
template <class A>
inline void multiply(const A* features, const A* weight, int depth,
                     A products[pixel_block][class_block]) {
  using V = typename Vector<A>::type;
  static_assert(score_depth_step % Vector<A>::lanes == 0);
  V sum[pixel_block][class_block] = {};
  for (int k = 0; k < depth; k += Vector<A>::lanes) {
    V w[class_block];
    for (int j = 0; j < class_block; ++j)
      w[j] = *reinterpret_cast<const V*>(weight + j * depth + k);
    for (int i = 0; i < pixel_block; ++i) {
      const V f = *reinterpret_cast<const V*>(features + i * depth + k);
      for (int j = 0; j < class_block; ++j) sum[i][j] += f * w[j];
    }
  }
  for (int i = 0; i < pixel_block; ++i)
    for (int j = 0; j < class_block; ++j) products[i][j] = sum_lanes<A>(sum[i][j]);
}

// The warped, rectified features of one pixel
template <class T, class A>
inline void warp_pixel(const WarpScoreParams& p, int64_t pixel, A* features) {
  const Pixel at = pixel_at(pixel, p.height, p.width);
  const A* flow = static_cast<const A*>(p.flow) + 2 * pixel;
  const Axis<A> x = border_axis(A(at.x) + flow[0], p.width);
  const Axis<A> y = border_axis(A(at.y) + flow[1], p.height);
  const int64_t image = at.image * p.height * p.width * p.depth;
  blend(features, static_cast<const T*>(p.cache) + image,
        corners(y, x, int64_t(p.width) * p.depth, p.depth), p.depth);
#pragma omp simd
  for (int k = 0; k < p.depth; ++k) features[k] = features[k] < A(0) ? A(0) : features[k];
}

template <class T>
void score(const WarpScoreParams& p, int64_t begin, int64_t end) {
  using A = accumulate_t<T>;
  const int depth = padded(p.depth, score_depth_step);
  const A* weight = static_cast<const A*>(p.weight);
  const A* bias = static_cast<const A*>(p.bias);
  // Zeroed once: the padding beyond p.depth stays zero.
  A* features = static_cast<A*>(std::calloc(size_t(pixel_block) * depth, sizeof(A)));
  for (int64_t first = begin; first < end; first += pixel_block) {
    const int pixels = end - first < pixel_block ? int(end - first) : pixel_block;
    for (int i = 0; i < pixels; ++i) warp_pixel<T>(p, first + i, features + i * depth);
    for (int c = 0; c < p.classes; c += class_block) {
      A products[pixel_block][class_block];
      multiply(features, weight + int64_t(c) * depth, depth, products);
      const int classes = p.classes - c < class_block ? p.classes - c : class_block;
      for (int i = 0; i < pixels; ++i) {
        A* out = static_cast<A*>(p.scores) + (first + i) * p.classes + c;
        for (int j = 0; j < classes; ++j) out[j] = products[i][j] + bias[c + j];
      }
    }
  }
  std::free(features);
}

}  // namespace

void warp_score(const WarpScoreParams& p, int64_t begin, int64_t end) {
  for_dtype(p.dtype, [&](auto type) { score<decltype(type)>(p, begin, end); });
}

}  // namespace accel_rt::ACCEL_RT_SIMD
