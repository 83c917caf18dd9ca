#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

// A block labels tile_rows rows of tile_threads * labels_each pixels, from the part of the score
// map below them, which it first copies to shared memory if that is small enough.
constexpr int labels_each = 4;
constexpr int tile_threads = 32;
constexpr int tile_rows = 8;
constexpr int tile_columns = tile_threads * labels_each;
constexpr int64_t shared_limit = 48 << 10;  // bytes every device grants without asking

// Rows or columns of the score map that `pixels` neighbouring output pixels can reach
__host__ __device__ inline int reach(int pixels, double step, int size) {
  const double cells = (pixels - 1) * step + 3;
  return cells < size ? int(cells) : size;
}

// First row or column of the score map below output pixel `first`, such that `cells` from there
// cover all that its tile reaches
__device__ __forceinline__ int origin(int first, double step, int size, int cells) {
  const int low = border_axis(source_position(first, step), size).index[0];
  return low + cells > size ? size - cells : low;
}

template <bool Shared, bool Margins>
__global__ void __launch_bounds__(tile_threads* tile_rows)
    label(UpsampleArgmaxParams p, int cell_rows, int cell_columns) {
  ACCEL_RT_DYNAMIC_SHARED(float, cells);
  const int first_row = blockIdx.y * tile_rows, first_column = blockIdx.x * tile_columns;
  const int64_t image = blockIdx.z;
  const float* scores = p.scores + image * p.classes * p.height * p.width;
  // Where class 0's plane starts, and the distances between planes and rows
  const float* from = scores;
  int64_t plane = int64_t(p.height) * p.width;
  int stride = p.width, top = 0, left = 0;
  if (Shared) {
    top = origin(first_row, p.step_y, p.height, cell_rows);
    left = origin(first_column, p.step_x, p.width, cell_columns);
    const int count = p.classes * cell_rows * cell_columns;
    const int thread = threadIdx.y * tile_threads + threadIdx.x;
    for (int i = thread; i < count; i += tile_threads * tile_rows) {
      const int c = i / (cell_rows * cell_columns);
      const int y = i / cell_columns % cell_rows, x = i % cell_columns;
      cells[i] = finite_score(scores[c * plane + int64_t(top + y) * p.width + left + x]);
    }
    from = cells;
    plane = int64_t(cell_rows) * cell_columns;
    stride = cell_columns;
    __syncthreads();
  }

  const int row = first_row + threadIdx.y;
  const int column = first_column + threadIdx.x * labels_each;
  if (row >= p.out_height || column >= p.out_width) return;
  const Axis<float> y = border_axis(source_position(row, p.step_y), p.height);
  const float* above = from + (y.index[0] - top) * stride - left;
  const float* below = from + (y.index[1] - top) * stride - left;
  Axis<float> x[labels_each];
  float best[labels_each], second[labels_each];
  int winner[labels_each];
  bool moves[labels_each];  // on to other cells than the pixel before, which few do
#pragma unroll
  for (int i = 0; i < labels_each; ++i) {
    // Pixels past the end of the row repeat its last one and are not written.
    const int at = column + i < p.out_width ? column + i : p.out_width - 1;
    x[i] = border_axis(source_position(at, p.step_x), p.width);
    moves[i] = i == 0 || x[i].index[0] != x[i - 1].index[0] || x[i].index[1] != x[i - 1].index[1];
    best[i] = second[i] = -INFINITY;
    winner[i] = 0;
  }
  const auto score = [](float cell) { return Shared ? cell : finite_score(cell); };
  for (int c = 0; c < p.classes; ++c) {
    const float* high = above + c * plane;
    const float* low = below + c * plane;
    float left = 0.0f, right = 0.0f;
#pragma unroll
    for (int i = 0; i < labels_each; ++i) {
      if (moves[i]) {
        const int a = x[i].index[0], b = x[i].index[1];
        left = y.weight[0] * score(high[a]) + y.weight[1] * score(low[a]);
        right = y.weight[0] * score(high[b]) + y.weight[1] * score(low[b]);
      }
      const float value = left * x[i].weight[0] + right * x[i].weight[1];
      const bool wins = value > best[i];
      if (Margins) second[i] = fmaxf(second[i], wins ? best[i] : value);
      best[i] = wins ? value : best[i];
      winner[i] = wins ? c : winner[i];
    }
  }
  uint8_t* out = p.labels + (image * p.out_height + row) * p.out_width + column;
  if (p.out_width % labels_each == 0) {
    *reinterpret_cast<uchar4*>(out) = make_uchar4(winner[0], winner[1], winner[2], winner[3]);
  } else {
#pragma unroll
    for (int i = 0; i < labels_each; ++i)
      if (column + i < p.out_width) out[i] = uint8_t(winner[i]);
  }
  if (!Margins) return;
  float* margins = p.margins + (out - p.labels);
#pragma unroll
  for (int i = 0; i < labels_each; ++i)
    if (column + i < p.out_width) margins[i] = best[i] - second[i];
}

template <bool Margins>
void launch_label(const UpsampleArgmaxParams& p, void* stream) {
  const int rows = reach(tile_rows, p.step_y, p.height);
  const int columns = reach(tile_columns, p.step_x, p.width);
  const int64_t bytes = int64_t(p.classes) * rows * columns * sizeof(float);
  const dim3 grid(unsigned((p.out_width + tile_columns - 1) / tile_columns),
                  unsigned((p.out_height + tile_rows - 1) / tile_rows), unsigned(p.images));
  const dim3 block(tile_threads, tile_rows);
  if (bytes <= shared_limit)
    ACCEL_RT_LAUNCH((label<true, Margins>), grid, block, size_t(bytes), stream, p, rows, columns);
  else
    ACCEL_RT_LAUNCH((label<false, Margins>), grid, block, 0, stream, p, 0, 0);
}

}  // namespace

int upsample_argmax_cuda(const UpsampleArgmaxParams& p, void* stream) {
  p.margins == nullptr ? launch_label<false>(p, stream) : launch_label<true>(p, stream);
  return int(cudaGetLastError());
}

}  // namespace accel_rt
