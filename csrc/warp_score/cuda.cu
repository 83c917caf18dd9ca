#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

// A block scores tile_pixels pixels for tile_classes classes. It walks along the depth: warps and
// rectifies a slab of features into shared memory, puts the matrix's slab beside it, and adds the
// slab's products to sums in registers. What the next slab needs is read from memory meanwhile. The
// cache is read once for each tile_classes classes.
constexpr int tile_pixels = 32;
constexpr int tile_classes = 32;
constexpr int slab = 64;
// Rows of shared memory are a few banks longer than a slab, so that the threads of a warp, each on
// a row of its own, read different banks.
constexpr int row_floats = slab + 4;
constexpr int thread_classes = tile_classes / (block_threads / tile_pixels);
constexpr int row_threads = block_threads / tile_pixels;  // that warp one pixel's features

static_assert(slab % score_depth_step == 0 && tile_classes % score_class_step == 0);

// A thread's part of a slab, in registers: N features of its pixel at a time, M values of the
// matrix
template <class T, int N, int M>
struct SlabPart {
  static constexpr int packs = slab / row_threads / N;
  static constexpr int matrix_packs = tile_classes * slab / block_threads / M;

  TapPacks<T, N> taps[packs];
  Pack<float, M> matrix[matrix_packs];

  static __device__ __forceinline__ int place(int i) {
    return (i * row_threads + threadIdx.x % row_threads) * N;
  }

  // Of the features [depth, depth + slab) and of the classes from first_class on
  __device__ __forceinline__ void read(const WarpScoreParams& p, const T* image,
                                       const Corners<float>& at, int depth, int padded_depth,
                                       int first_class, int padded_classes) {
#pragma unroll
    for (int i = 0; i < packs; ++i)
      taps[i] = depth + place(i) < p.depth ? TapPacks<T, N>(image + depth + place(i), at)
                                           : TapPacks<T, N>{};
#pragma unroll
    for (int i = 0; i < matrix_packs; ++i) {
      const int item = i * block_threads + threadIdx.x;
      const int c = first_class + item / (slab / M), k = depth + item % (slab / M) * M;
      matrix[i] = c < padded_classes && k < padded_depth
                      ? load_pack<float, M>(static_cast<const float*>(p.weight) +
                                            int64_t(c) * padded_depth + k)
                      : Pack<float, M>{};
    }
  }

  __device__ __forceinline__ void share(const Corners<float>& at, float* features,
                                        float* matrix_rows) const {
    float* row = features + threadIdx.x / row_threads * row_floats;
#pragma unroll
    for (int i = 0; i < packs; ++i) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float value = taps[i].blend(at, n);
        row[place(i) + n] = value < 0.0f ? 0.0f : value;  // keeps NaN, as relu does
      }
    }
#pragma unroll
    for (int i = 0; i < matrix_packs; ++i) {
      const int item = i * block_threads + threadIdx.x;
      store_pack(matrix_rows + item / (slab / M) * row_floats + item % (slab / M) * M, matrix[i]);
    }
  }
};

// Where the features of `pixel` come from, in its image; past the last pixel nothing is read
__device__ __forceinline__ Corners<float> warped(const WarpScoreParams& p, const Pixel& source,
                                                 int64_t pixel, bool inside) {
  if (!inside) return {};
  const float* flow = static_cast<const float*>(p.flow) + 2 * pixel;
  const Axis<float> x = border_axis(float(source.x) + flow[0], p.width);
  const Axis<float> y = border_axis(float(source.y) + flow[1], p.height);
  return corners(y, x, int64_t(p.width) * p.depth, int64_t(p.depth));
}

template <class T, int N>
__global__ void __launch_bounds__(block_threads, 2)
    score(WarpScoreParams p, int padded_depth, int padded_classes) {
  __shared__ __align__(16) float features[tile_pixels * row_floats];
  __shared__ __align__(16) float matrix[tile_classes * row_floats];
  const int64_t pixels = p.images * p.height * p.width;
  const int64_t first = int64_t(blockIdx.x) * tile_pixels;
  const int first_class = blockIdx.y * tile_classes;
  const int64_t pixel = first + threadIdx.x / row_threads;
  const Pixel source = pixel_at(pixel, p.height, p.width);
  const Corners<float> at = warped(p, source, pixel, pixel < pixels);
  const T* image = static_cast<const T*>(p.cache) + source.image * p.height * p.width * p.depth;
  const int row = threadIdx.x % tile_pixels;
  const int column = threadIdx.x / tile_pixels * thread_classes;
  const bool scores = first_class + column < padded_classes;  // the same in a whole warp
  float sum[thread_classes] = {};
  SlabPart<T, N, (N > 1 ? 4 : 1)> part;
  constexpr bool ahead = N > 1;  // one value at a time takes too many registers for that
  if (ahead) part.read(p, image, at, 0, padded_depth, first_class, padded_classes);
  for (int depth = 0; depth < padded_depth; depth += slab) {
    if (!ahead) part.read(p, image, at, depth, padded_depth, first_class, padded_classes);
    part.share(at, features, matrix);
    __syncthreads();
    if (ahead && depth + slab < padded_depth)
      part.read(p, image, at, depth + slab, padded_depth, first_class, padded_classes);
    if (scores) {
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
    if (p.depth % full_pack<T> == 0 && aligned16(p.cache) && aligned16(p.weight))
      launch_score<T, full_pack<T>>(p, stream);
    else
      launch_score<T, 1>(p, stream);
    return int(cudaGetLastError());
  });
}

}  // namespace accel_rt
