#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

// A thread computes a few pixels of a row, in N channels, and reads each column of their inputs
// once for each of the kernel's rows. The pixels are a dilation apart, so that their taps fall on
// the same columns however far the kernel is spread. A block is tile_rows rows high: what the
// kernel's rows read again lies in the multiprocessor's cache, and memory gives it once.
template <int Stride>
constexpr int thread_pixels = 4 / Stride;  // more, and registers run out
constexpr int tile_rows = 8;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int blocks_at_once = 1;  // the least of two 16-bit values takes more registers there
#else
constexpr int blocks_at_once = 2;
#endif

// Two values as the instructions that work on both want them
__device__ __forceinline__ __half2 pair(__half a, __half b) { return {a, b}; }
__device__ __forceinline__ __nv_bfloat162 pair(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }

__device__ __forceinline__ float keep_between(float value, float least, float most) {
  value = value < least ? least : value;  // keeps NaN, as relu does
  return value > most ? most : value;
}

template <class T, int N>
__device__ __forceinline__ void keep_between(Pack<T, N>& pack, float least, float most) {
  if constexpr (N > 1 && sizeof(T) == 2) {
    const T low = round_to<T>(least), high = round_to<T>(most);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      const auto two = __hmax2_nan(pair(pack.value[n], pack.value[n + 1]), pair(low, low));
      const auto kept = __hmin2_nan(two, pair(high, high));
      pack.value[n] = kept.x;
      pack.value[n + 1] = kept.y;
    }
  } else {
#pragma unroll
    for (int n = 0; n < N; ++n)
      pack.value[n] = round_to<T>(keep_between(load(pack.value[n]), least, most));
  }
}

template <class T, int N, int Kernel, int Stride>
__global__ void __launch_bounds__(block_threads, blocks_at_once)
    convolve(DepthwiseParams p, int chunks, int tiles_across, int tiles_down) {
  constexpr int pixels = thread_pixels<Stride>;
  constexpr int columns = (pixels - 1) * Stride + Kernel;
  const int chunk = blockIdx.x % chunks, tile = blockIdx.x / chunks;
  const int64_t image = tile / tiles_across / tiles_down;
  const int tile_groups = blockDim.y / tile_rows;
  const int group = tile % tiles_across * tile_groups + threadIdx.y % tile_groups;
  const int row = tile / tiles_across % tiles_down * tile_rows + threadIdx.y / tile_groups;
  const int first = group / p.dilation * (pixels * p.dilation) + group % p.dilation;
  const int channel = (chunk * blockDim.x + threadIdx.x) * N;
  if (channel >= p.channels || row >= p.out_height || first >= p.out_width) return;

  const T* input = static_cast<const T*>(p.input) + image * p.height * p.width * p.channels;
  const T* weights = static_cast<const T*>(p.weight) + channel;
  const Pack<T, N> bias = load_pack<T, N>(static_cast<const T*>(p.bias) + channel);
  float sum[pixels][N];
#pragma unroll
  for (int i = 0; i < pixels; ++i)
#pragma unroll
    for (int n = 0; n < N; ++n) sum[i][n] = load(bias.value[n]);
#pragma unroll 1  // loads of several rows at once would need more registers than there are
  for (int down = 0; down < Kernel; ++down) {
    const int y = row * Stride - p.padding + down * p.dilation;
    if (y < 0 || y >= p.height) continue;
    Pack<T, N> column[columns];
#pragma unroll
    for (int j = 0; j < columns; ++j) {
      const int x = first * Stride - p.padding + j * p.dilation;
      column[j] = x >= 0 && x < p.width
                      ? load_pack<T, N>(input + (int64_t(y) * p.width + x) * p.channels + channel)
                      : Pack<T, N>{};
    }
    if (p.clamps_input) {
#pragma unroll
      for (int j = 0; j < columns; ++j) keep_between(column[j], p.input_least, p.input_most);
    }
#pragma unroll
    for (int across = 0; across < Kernel; ++across) {
      const Pack<T, N> weight =
          load_pack<T, N>(weights + int64_t(down * Kernel + across) * p.channels);
#pragma unroll
      for (int i = 0; i < pixels; ++i)
#pragma unroll
        for (int n = 0; n < N; ++n)
          sum[i][n] += load(weight.value[n]) * load(column[i * Stride + across].value[n]);
    }
  }

  T* out =
      static_cast<T*>(p.out) + (image * p.out_height + row) * p.out_width * p.channels + channel;
#pragma unroll
  for (int i = 0; i < pixels; ++i) {
    const int x = first + i * p.dilation;
    if (x >= p.out_width) return;
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n)
      result.value[n] = round_to<T>(keep_between(sum[i][n], p.least, p.most));
    store_pack(out + int64_t(x) * p.channels, result);
  }
}

template <class T, int N, int Kernel, int Stride>
int launch_convolve(const DepthwiseParams& p, void* stream) {
  const int packs = (p.channels + N - 1) / N;
  // 128 bytes side by side, or half of that where a quarter of the last ones would be idle
  const int lanes = packs % 8 != 0 && packs % 8 <= 4 ? 4 : 8;
  const dim3 block(lanes, block_threads / lanes);
  const int64_t chunks = (packs + lanes - 1) / lanes;
  const int64_t run = int64_t(thread_pixels<Stride>) * p.dilation;
  const int64_t groups = (p.out_width + run - 1) / run * p.dilation;
  const int64_t across = blocks_for(groups, block.y / tile_rows);
  const int64_t down = blocks_for(p.out_height, tile_rows);
  const int64_t blocks = chunks * across * down * p.images;
  if (blocks > 0x7fffffff) return cudaErrorInvalidConfiguration;
  ACCEL_RT_LAUNCH((convolve<T, N, Kernel, Stride>), unsigned(blocks), block, 0, stream, p,
                  int(chunks), int(across), int(down));
  return int(cudaGetLastError());
}

template <class T, int N>
int choose(const DepthwiseParams& p, void* stream) {
  if (p.kernel == 3)
    return p.stride == 1 ? launch_convolve<T, N, 3, 1>(p, stream)
                         : launch_convolve<T, N, 3, 2>(p, stream);
  return p.stride == 1 ? launch_convolve<T, N, 5, 1>(p, stream)
                       : launch_convolve<T, N, 5, 2>(p, stream);
}

}  // namespace

int depthwise_conv2d_cuda(const DepthwiseParams& p, void* stream) {
  return for_cuda_dtype(p.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = p.channels % full_pack<T> == 0 && aligned16(p.input) &&
                       aligned16(p.weight) && aligned16(p.bias) && aligned16(p.out);
    return packs ? choose<T, full_pack<T>>(p, stream) : choose<T, 1>(p, stream);
  });
}

}  // namespace accel_rt
