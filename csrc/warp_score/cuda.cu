#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

// A block scores tile_pixels pixels for tile_classes classes. It walks along the depth: warps and
// rectifies a slab of features into shared memory, puts the matrix's slab beside it, and adds the
// slab's products to sums in registers. The cache is read once for each tile_classes classes.
constexpr int tile_pixels = 32;
constexpr int tile_classes = 32;
constexpr int slab = 64;
// Rows of shared memory are a few banks longer than a slab, so that the threads of a warp, each on
// a row of its own, read different banks.
constexpr int row_floats = slab + 4;
constexpr int thread_classes = tile_classes / (block_threads / tile_pixels);

static_assert(slab % score_depth_step == 0 && tile_classes % score_class_step == 0);

// The warped, rectified features [depth, depth + slab) of the tile's pixels
template <class T, int N>
__device__ __forceinline__ void warp_slab(const WarpScoreParams& p, int64_t first, int64_t pixels,
                                          int depth, float* features) {
  for (int item = threadIdx.x; item < tile_pixels * (slab / N); item += block_threads) {
    const int row = item / (slab / N), offset = item % (slab / N) * N;
    const int64_t pixel = first + row;
    float* out = features + row * row_floats + offset;
    if (pixel >= pixels || depth + offset >= p.depth) {
#pragma unroll
      for (int i = 0; i < N; ++i) out[i] = 0.0f;
      continue;
    }
    const Pixel source = pixel_at(pixel, p.height, p.width);
    const float* flow = static_cast<const float*>(p.flow) + 2 * pixel;
    const Axis<float> x = border_axis(float(source.x) + flow[0], p.width);
    const Axis<float> y = border_axis(float(source.y) + flow[1], p.height);
    const Corners<float> at = corners(y, x, int64_t(p.width) * p.depth, int64_t(p.depth));
    const int64_t image = source.image * p.height * p.width * p.depth;
    const TapPacks<T, N> taps(static_cast<const T*>(p.cache) + image + depth + offset, at);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float value = taps.blend(at, i);
      out[i] = value < 0.0f ? 0.0f : value;  // keeps NaN, as relu does
    }
  }
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads, 3)
    score(WarpScoreParams p, int padded_depth, int padded_classes) {
  __shared__ __align__(16) float features[tile_pixels * row_floats];
  __shared__ __align__(16) float matrix[tile_classes * row_floats];
  const int64_t pixels = p.images * p.height * p.width;
  const int64_t first = int64_t(blockIdx.x) * tile_pixels;
  const int first_class = blockIdx.y * tile_classes;
  const int row = threadIdx.x % tile_pixels;
  const int column = threadIdx.x / tile_pixels * thread_classes;
  float sum[thread_classes] = {};
  for (int depth = 0; depth < padded_depth; depth += slab) {
    warp_slab<T, N>(p, first, pixels, depth, features);
    for (int item = threadIdx.x; item < tile_classes * slab; item += block_threads) {
      const int c = item / slab, k = item % slab;
      const bool inside = first_class + c < padded_classes && depth + k < padded_depth;
      matrix[c * row_floats + k] =
          inside ? static_cast<const float*>(
                       p.weight)[int64_t(first_class + c) * padded_depth + depth + k]
                 : 0.0f;
    }
    __syncthreads();
#pragma unroll 2
    for (int k = 0; k < slab; k += 4) {
      const Pack<float, 4> f = load_pack<float, 4>(features + row * row_floats + k);
#pragma unroll
      for (int j = 0; j < thread_classes; ++j) {
        const Pack<float, 4> w = load_pack<float, 4>(matrix + (column + j) * row_floats + k);
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[j] += f.value[i] * w.value[i];
      }
    }
    __syncthreads();
  }
  if (first + row >= pixels) return;
#pragma unroll
  for (int j = 0; j < thread_classes; ++j) {
    const int c = first_class + column + j;
    if (c < p.classes)
      static_cast<float*>(p.scores)[(first + row) * p.classes + c] =
          sum[j] + static_cast<const float*>(p.bias)[c];
  }
}

template <class T, int N>
void launch_score(const WarpScoreParams& p, void* stream) {
  const int64_t pixels = p.images * p.height * p.width;
  const dim3 grid(unsigned((pixels + tile_pixels - 1) / tile_pixels),
                  unsigned((p.classes + tile_classes - 1) / tile_classes));
  ACCEL_RT_LAUNCH((score<T, N>), grid, block_threads, 0, stream, p,
                  padded(p.depth, score_depth_step), padded(p.classes, score_class_step));
}

}  // namespace

int warp_score_cuda(const WarpScoreParams& p, void* stream) {
  return for_cuda_dtype(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (p.depth % full_pack<T> == 0 && aligned16(p.cache))
      launch_score<T, full_pack<T>>(p, stream);
    else
      launch_score<T, 1>(p, stream);
    return int(cudaGetLastError());
  });
}

}  // namespace accel_rt
