// The convolution as one matrix product on tensor cores whose left factor, the columns of sampled
// taps, only ever exists in shared memory.
#include "../common/mma.cuh"
#include "kernel.h"
#include "sampling.h"

namespace accel_rt {
namespace {

// A block computes tile_pixels x tile_outputs results, a warp of its eight 32 x 64 of them. It
// walks along the depth (taps, then channels) in slabs of slab_bytes, of which it keeps two: while
// one is multiplied, the next one's weights are on their way by asynchronous copies and its taps in
// registers, to be blended into shared memory afterwards.
constexpr int tile_pixels = 64;
constexpr int tile_outputs = 256;
constexpr int slab_bytes = 64;
constexpr int chunk_bytes = 16;
constexpr int row_chunks = slab_bytes / chunk_bytes;
constexpr int row_words = slab_bytes / 4;
constexpr int warp_rows = 32, warp_columns = 64;
constexpr int warps_across = tile_outputs / warp_columns;

static_assert(block_threads == tile_pixels * row_chunks, "a thread samples one chunk of a slab");

struct Slab {
  uint32_t pixels[tile_pixels * row_words];
  uint32_t outputs[tile_outputs * row_words];
};

// Where a chunk of a row lies. Chunks change places from row to row, so that the eight rows that a
// warp reads a word of each come from different banks.
__device__ __forceinline__ int chunk_word(int row, int chunk) {
  return row * row_words + (chunk ^ (row / 2 % row_chunks)) * (chunk_bytes / 4);
}

template <class T, int N>
__device__ __forceinline__ float element(const Pack<T, N>& pack, int i) {
  return load(pack.value[i]);
}
// From whole words: nvcc 13 otherwise spills registers for sm_90.
template <int N>
__device__ __forceinline__ float element(const Pack<__nv_bfloat16, N>& pack, int i) {
  uint32_t word;
  memcpy(&word, &pack.value[i & ~1], sizeof word);
  return as_float(i % 2 != 0 ? word & 0xffff0000u : word << 16);
}

// A thread's share of the sampling: one chunk of channels of one pixel.
template <class T>
struct Sampler {
  static constexpr int pack = full_pack<T>;
  const DeformParams& p;
  const T* image;  // at the chunk's first channel
  int pixel;       // or -1 if there is none; its place is worked out anew for each tap, since
                   // registers are scarce
  int offset[4];   // of its corners in the image
  float weight[4];
  Pack<T, pack> value[4];

  __device__ __forceinline__ Sampler(const DeformParams& p, int64_t pixel, int64_t pixels)
      : p(p), pixel(pixel < pixels ? int(pixel) : -1) {
    image = static_cast<const T*>(p.input) +
            pixel / (p.out_height * p.out_width) * p.height * p.width * p.channels +
            threadIdx.x % row_chunks * pack;
  }

  // Starts to read the taps of the slab at `depth`; slabs must come one after the other.
  __device__ __forceinline__ void read(int depth) {
    if (pixel < 0) return;
    const int channel = depth % p.channels, k = depth / p.channels;
    const int share = p.channels / p.offset_groups, group = channel / share;
    if (channel % share == 0) {
      Pixel at = output_pixel(p, pixel);
      const Tap<float> sampled = sample_tap<float>(p, at, tap_index(p, pixel, group, k),
                                                   k / p.kernel_width, k % p.kernel_width);
      at.image = 0;
      const Corners<float> taps = tap_corners(p, at, sampled, sampled.mask);
#pragma unroll
      for (int i = 0; i < 4; ++i) offset[i] = int(taps.offset[i]), weight[i] = taps.weight[i];
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
      value[i] =
          weight[i] != 0.0f ? load_pack<T, pack>(image + channel + offset[i]) : Pack<T, pack>{};
  }

  __device__ __forceinline__ void blend_into(Slab& slab) const {
    Pack<T, pack> result;
#pragma unroll
    for (int i = 0; i < pack; ++i) {
      float sum = 0.0f;
      if (pixel >= 0) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sum += weight[k] * element(value[k], i);
      }
      result.value[i] = round_to<T>(sum);
    }
    uint32_t* to = slab.pixels + chunk_word(threadIdx.x / row_chunks, threadIdx.x % row_chunks);
    store_pack(reinterpret_cast<T*>(to), result);
  }
};

// Starts copying the slab of weights at `depth`; outputs that are not there become zero.
template <class T>
__device__ __forceinline__ void copy_weights(const DeformImplicitParams& w, int64_t row_elements,
                                             int first_output, int depth, Slab& slab) {
#pragma unroll 1  // unrolled, its addresses would spill
  for (int i = 0; i < tile_outputs * row_chunks / block_threads; ++i) {
    const int item = threadIdx.x + i * block_threads;
    const int row = item / row_chunks, chunk = item % row_chunks;
    const bool inside = first_output + row < w.out_channels;
    const T* from = static_cast<const T*>(w.weight) +
                    (inside ? first_output + row : 0) * row_elements + depth + chunk * full_pack<T>;
    copy_async(slab.outputs + chunk_word(row, chunk), from, !inside);
  }
}

// The words that a lane holds of eight rows
__device__ __forceinline__ void load_fragment(uint32_t& near, uint32_t& far, const uint32_t* rows,
                                              int first_row, int step) {
  const int row = first_row + threadIdx.x % warp_threads / 4, word = threadIdx.x % 4;
  near = rows[chunk_word(row, 2 * step) + word];
  far = rows[chunk_word(row, 2 * step + 1) + word];
}

template <class T>
__device__ __forceinline__ void multiply_slab(const Slab& slab, int first_row, int first_column,
                                              float (&sum)[2][8][4]) {
#pragma unroll 1
  for (int step = 0; step < row_chunks / 2; ++step) {
    uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      load_fragment(a[i][0], a[i][2], slab.pixels, first_row + 16 * i, step);
      load_fragment(a[i][1], a[i][3], slab.pixels, first_row + 16 * i + 8, step);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      uint32_t b[2];
      load_fragment(b[0], b[1], slab.outputs, first_column + 8 * j, step);
#pragma unroll
      for (int i = 0; i < 2; ++i) multiply_fragments<T>(sum[i][j], a[i], b);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(block_threads, sizeof(T) == 2 ? 2 : 1)
    implicit(DeformParams p, DeformImplicitParams w, int64_t pixels) {
  __shared__ __align__(16) Slab slabs[2];
  constexpr int slab_depth = slab_bytes / int(sizeof(T));
  const int64_t first_pixel = int64_t(blockIdx.x) * tile_pixels;
  const int first_output = blockIdx.y * tile_outputs;
  const int depth = p.kernel_height * p.kernel_width * p.channels;
  const int warp = threadIdx.x / warp_threads, lane = threadIdx.x % warp_threads;
  const int first_row = warp / warps_across * warp_rows;
  const int first_column = warp % warps_across * warp_columns;
  Sampler<T> sampler(p, first_pixel + threadIdx.x / row_chunks, pixels);
  float sum[2][8][4] = {};

  copy_weights<T>(w, depth, first_output, 0, slabs[0]);
  sampler.read(0);
  sampler.blend_into(slabs[0]);
  for (int k = 0, stage = 0; k < depth; k += slab_depth, stage ^= 1) {
    const int next = k + slab_depth;
    wait_for_copies();
    __syncthreads();
    if (next < depth) {
      copy_weights<T>(w, depth, first_output, next, slabs[stage ^ 1]);
      sampler.read(next);
    }
    multiply_slab<T>(slabs[stage], first_row, first_column, sum);
    if (next < depth) sampler.blend_into(slabs[stage ^ 1]);
  }

#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int output = first_output + first_column + 8 * j + lane % 4 * 2;
    if (output >= w.out_channels) continue;
    float added[2] = {0, 0};
    if (w.bias != nullptr) {
      const Pack<T, 2> bias = load_pack<T, 2>(static_cast<const T*>(w.bias) + output);
      added[0] = load(bias.value[0]), added[1] = load(bias.value[1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t pixel = first_pixel + first_row + 8 * i + lane / 4;
      const float* result = &sum[i / 2][j][i % 2 * 2];
      if (pixel < pixels)
        store_pack(
            static_cast<T*>(w.out) + pixel * w.out_channels + output,
            Pack<T, 2>{{round_to<T>(result[0] + added[0]), round_to<T>(result[1] + added[1])}});
    }
  }
}

bool has_tensor_cores() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 8;
}

}  // namespace

bool deform_implicit_fits(const DeformParams& p, const DeformImplicitParams& w) {
  const int slab_depth = p.dtype == DType::f32 ? slab_bytes / 4 : slab_bytes / 2;
  const int64_t image = int64_t(p.height) * p.width * p.channels;
  const int64_t pixels = p.images * p.out_height * p.out_width;
  return image <= INT32_MAX && pixels <= INT32_MAX && p.groups == 1 &&
         p.channels / p.offset_groups % slab_depth == 0 && w.out_channels % 8 == 0 &&
         w.out_channels >= 64 && w.out_channels <= 2 * tile_outputs && aligned16(p.input) &&
         aligned16(w.weight) && aligned16(w.bias) && has_tensor_cores();
}

int deform_implicit_cuda(const DeformParams& p, const DeformImplicitParams& w, void* stream) {
  return for_cuda_dtype(p.dtype, [&](auto type) {
    const int64_t pixels = p.images * p.out_height * p.out_width;
    const dim3 grid(blocks_for(pixels, tile_pixels), blocks_for(w.out_channels, tile_outputs));
    ACCEL_RT_LAUNCH((implicit<decltype(type)>), grid, block_threads, 0, stream, p, w, pixels);
    return int(cudaGetLastError());
  });
}

}  // namespace accel_rt
