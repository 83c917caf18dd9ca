#include "../common/cuda.cuh"
#include "kernel.h"

namespace accel_rt {
namespace {

constexpr int pixels = patch_side * patch_side;
constexpr int lanes = patch_side;  // of a patch: one a row

__device__ __forceinline__ int clamped(int at, int side) {
  return at < 0 ? 0 : (at < side ? at : side - 1);
}

__device__ __forceinline__ int patch_place(int number, int side) {
  const int at = number * patch_step;
  return at < side - patch_side ? at : side - patch_side;
}

__device__ __forceinline__ float patch_sum(float value) {
#pragma unroll
  for (int apart = lanes / 2; apart > 0; apart /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, apart);
  return value;
}

// An image, or a part of the flow, at (y, x); pixels at the edge repeat
__device__ __forceinline__ float sample(const float* image, int width, const Axis<float>& y,
                                        const Axis<float>& x) {
  const float* above = image + int64_t(y.index[0]) * width;
  const float* below = image + int64_t(y.index[1]) * width;
  return y.weight[0] * (x.weight[0] * above[x.index[0]] + x.weight[1] * above[x.index[1]]) +
         y.weight[1] * (x.weight[0] * below[x.index[0]] + x.weight[1] * below[x.index[1]]);
}

// How well a displacement fits, and the way downhill. Brightness may differ between the frames, so
// that means over the patch do not count.
struct Fit {
  float error, x, y;
};

// A lane's row of a patch: brightness and its slopes, which are Sobel's over 8
struct PatchRow {
  float value[patch_side], slope_x[patch_side], slope_y[patch_side];
  float sum_x, sum_y;                        // of the slopes, over the patch
  float inverse_xx, inverse_xy, inverse_yy;  // of the matrix of their products, damped

  __device__ __forceinline__ PatchRow(const PatchFlowParams& p, const float* image, int top,
                                      int left, float damping) {
    const int y = top + int(threadIdx.x);
    const float* above = image + int64_t(clamped(y - 1, p.height)) * p.width;
    const float* here = image + int64_t(y) * p.width;
    const float* below = image + int64_t(clamped(y + 1, p.height)) * p.width;
    float across[patch_side + 2], down[patch_side + 2];
#pragma unroll
    for (int i = 0; i < patch_side + 2; ++i) {
      const int x = clamped(left + i - 1, p.width);
      across[i] = above[x] + 2 * here[x] + below[x];
      down[i] = below[x] - above[x];
    }
    float xx = 0, xy = 0, yy = 0;
    sum_x = sum_y = 0;
#pragma unroll
    for (int i = 0; i < patch_side; ++i) {
      value[i] = here[left + i];
      slope_x[i] = (across[i + 2] - across[i]) / 8;
      slope_y[i] = (down[i] + 2 * down[i + 1] + down[i + 2]) / 8;
      xx += slope_x[i] * slope_x[i], xy += slope_x[i] * slope_y[i], yy += slope_y[i] * slope_y[i];
      sum_x += slope_x[i], sum_y += slope_y[i];
    }
    sum_x = patch_sum(sum_x), sum_y = patch_sum(sum_y);
    xx = patch_sum(xx) - sum_x * sum_x / pixels + damping;
    yy = patch_sum(yy) - sum_y * sum_y / pixels + damping;
    xy = patch_sum(xy) - sum_x * sum_y / pixels;
    const float determinant = xx * yy - xy * xy;
    inverse_xx = yy / determinant, inverse_yy = xx / determinant, inverse_xy = -xy / determinant;
  }

  // All lanes of a warp must come here.
  __device__ __forceinline__ Fit fit(const PatchFlowParams& p, const float* previous, int top,
                                     int left, float x, float y) const {
    const Axis<float> row = border_axis(float(top + int(threadIdx.x)) + y, p.height);
    float sum = 0, squares = 0, by_x = 0, by_y = 0;
#pragma unroll
    for (int i = 0; i < patch_side; ++i) {
      const Axis<float> column = border_axis(float(left + i) + x, p.width);
      const float difference = sample(previous, p.width, row, column) - value[i];
      sum += difference, squares += difference * difference;
      by_x += difference * slope_x[i], by_y += difference * slope_y[i];
    }
    sum = patch_sum(sum);
    return {patch_sum(squares) - sum * sum / pixels, patch_sum(by_x) - sum * sum_x / pixels,
            patch_sum(by_y) - sum * sum_y / pixels};
  }
};

// A patch's displacement: that of the round before, or, in the first, where the flow begins.
__device__ __forceinline__ void known(const PatchFlowParams& p, int round, int64_t image, int row,
                                      int column, float& x, float& y) {
  if (round > 0) {
    const float* found =
        p.found[(round + 1) % 2] + 2 * ((image * p.rows + row) * p.columns + column);
    x = found[0], y = found[1];
    return;
  }
  const int64_t area = int64_t(p.flow_height) * p.flow_width;
  const float* flow = p.flow + 2 * image * area;
  const double step_y = double(p.flow_height) / p.height, step_x = double(p.flow_width) / p.width;
  const int middle_y = patch_place(row, p.height) + patch_side / 2;
  const int middle_x = patch_place(column, p.width) + patch_side / 2;
  const Axis<float> at_y = border_axis(source_position(middle_y, step_y), p.flow_height);
  const Axis<float> at_x = border_axis(source_position(middle_x, step_x), p.flow_width);
  x = sample(flow, p.flow_width, at_y, at_x) / float(step_x);
  y = sample(flow + area, p.flow_width, at_y, at_x) / float(step_y);
}

// Begins at the best of what a patch and its four neighbours know, and goes downhill. A result that
// is a patch or more away from there is not trusted.
__global__ void search(PatchFlowParams p, int round, int64_t patches) {
  const bool exists = global_item() < patches;
  const Pixel patch = pixel_at(exists ? global_item() : 0, p.rows, p.columns);
  const int top = patch_place(patch.y, p.height), left = patch_place(patch.x, p.width);
  const int64_t area = int64_t(p.height) * p.width;
  const float* previous = p.previous + patch.image * area;
  const PatchRow here(p, p.current + patch.image * area, top, left, p.damping);

  float x, y;
  known(p, round, patch.image, patch.y, patch.x, x, y);
  Fit best = here.fit(p, previous, top, left, x, y);
  for (int side = 0; side < 4; ++side) {
    const int row = clamped(patch.y + (side == 0) - (side == 1), p.rows);
    const int column = clamped(patch.x + (side == 2) - (side == 3), p.columns);
    float other_x, other_y;
    known(p, round, patch.image, row, column, other_x, other_y);
    const Fit other = here.fit(p, previous, top, left, other_x, other_y);
    if (other.error < best.error) best = other, x = other_x, y = other_y;
  }
  const float first_x = x, first_y = y;
  float best_x = x, best_y = y, least = best.error;
  for (int i = 0; i < p.iterations; ++i) {
    x -= here.inverse_xx * best.x + here.inverse_xy * best.y;
    y -= here.inverse_xy * best.x + here.inverse_yy * best.y;
    best = here.fit(p, previous, top, left, x, y);
    const float far_x = x - first_x, far_y = y - first_y;
    const bool near = far_x * far_x + far_y * far_y < float(pixels);
    if (near && best.error < least) least = best.error, best_x = x, best_y = y;
  }
  if (exists && threadIdx.x == 0)
    store_pack(p.found[round % 2] + 2 * global_item(), Pack<float, 2>{{best_x, best_y}});
}

// A pixel's flow: the mean of the patches over it, each weighed by how well it fits there.
__global__ void densify(PatchFlowParams p, int64_t count) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const Pixel at = pixel_at(i, p.height, p.width);
  const int64_t area = int64_t(p.height) * p.width;
  const float* previous = p.previous + at.image * area;
  const float* found = p.found[(p.rounds + 1) % 2] + 2 * at.image * p.rows * p.columns;
  const float value = p.current[i];
  float sum = 0, sum_x = 0, sum_y = 0;
  const int first_row = at.y < patch_side ? 0 : (at.y - patch_side) / patch_step + 1;
  const int first_column = at.x < patch_side ? 0 : (at.x - patch_side) / patch_step + 1;
  for (int row = first_row; row <= at.y / patch_step + 1 && row < p.rows; ++row) {
    const int top = patch_place(row, p.height);
    if (at.y < top || at.y >= top + patch_side) continue;
    for (int column = first_column; column <= at.x / patch_step + 1 && column < p.columns;
         ++column) {
      const int left = patch_place(column, p.width);
      if (at.x < left || at.x >= left + patch_side) continue;
      const Pack<float, 2> flow = load_pack<float, 2>(found + 2 * (row * p.columns + column));
      const float x = flow.value[0], y = flow.value[1];
      const float there = sample(previous, p.width, border_axis(float(at.y) + y, p.height),
                                 border_axis(float(at.x) + x, p.width));
      const float weight = 1 / fmaxf(1, fabsf(there - value));
      sum += weight, sum_x += weight * x, sum_y += weight * y;
    }
  }
  float* out = p.out + 2 * at.image * area + int64_t(at.y) * p.width + at.x;
  out[0] = sum_x / sum, out[area] = sum_y / sum;
}

}  // namespace

int patch_flow_cuda(const PatchFlowParams& p, void* stream) {
  const int64_t patches = p.images * p.rows * p.columns;
  const int64_t count = p.images * p.height * p.width;
  const dim3 block(lanes, block_threads / lanes);
  for (int round = 0; round < p.rounds; ++round)
    ACCEL_RT_LAUNCH(search, blocks_for(patches, block.y), block, 0, stream, p, round, patches);
  ACCEL_RT_LAUNCH(densify, blocks_for(count), block_threads, 0, stream, p, count);
  return int(cudaGetLastError());
}

}  // namespace accel_rt
