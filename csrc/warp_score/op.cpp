#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

void check(const Tensor& cache, const Tensor& flow, const Tensor& weight, const Tensor& bias) {
  STD_TORCH_CHECK(cache.dim() == 4 && is_floating(cache.scalar_type()) && cache.size(1) > 0,
                  "warp_score: cache must be a floating point tensor [N, K, H, W]");
  STD_TORCH_CHECK(flow.dim() == 4 && is_floating(flow.scalar_type()) &&
                      flow.size(0) == cache.size(0) && flow.size(1) == 2 &&
                      flow.size(2) == cache.size(2) && flow.size(3) == cache.size(3),
                  "warp_score: flow must be a floating point tensor [N, 2, H, W] with cache's N, H "
                  "and W");
  STD_TORCH_CHECK(weight.dim() == 2 && is_floating(weight.scalar_type()) &&
                      weight.size(1) == cache.size(1) && weight.size(0) > 0,
                  "warp_score: weight must be a floating point tensor [C, ", cache.size(1), "]");
  STD_TORCH_CHECK(
      bias.dim() == 1 && is_floating(bias.scalar_type()) && bias.size(0) == weight.size(0),
      "warp_score: bias must be a floating point tensor [", weight.size(0), "]");
  STD_TORCH_CHECK(flow.device() == cache.device() && weight.device() == cache.device() &&
                      bias.device() == cache.device(),
                  "warp_score: all tensors must be on one device");
}

void score_cpu(const WarpScoreParams& p, const Tensor&) {
  parallel(p.images * p.height * p.width, int64_t(p.depth) * p.classes,
           [&](int64_t begin, int64_t end) { ACCEL_RT_KERNEL(warp_score)(p, begin, end); });
}

#ifdef ACCEL_RT_CUDA
void score_cuda(const WarpScoreParams& p, const Tensor& on) {
  launch(on, [&](void* stream) { return warp_score_cuda(p, stream); });
}
#endif

// `matrix` in the corner of zeros whose sides are multiples of the steps
Tensor pad_matrix(const Tensor& matrix, ScalarType type, int row_step, int column_step) {
  const int64_t rows = matrix.size(0), columns = matrix.size(1);
  Tensor result = torch::stable::new_zeros(
      matrix,
      std::array<int64_t, 2>{padded(int(rows), row_step), padded(int(columns), column_step)}, type);
  Tensor top = torch::stable::narrow(result, 0, 0, rows);
  Tensor part = torch::stable::narrow(top, 1, 0, columns);
  torch::stable::copy_(part, matrix);
  return result;
}

Tensor matrix_cpu(const Tensor& weight, ScalarType type) {
  return pad_matrix(torch::stable::transpose(weight, 0, 1), type, 1, score_vector_step);
}

#ifdef ACCEL_RT_CUDA
Tensor matrix_cuda(const Tensor& weight, ScalarType type) {
  return pad_matrix(weight, type, score_class_step, score_depth_step);
}
#endif

template <void (*run)(const WarpScoreParams&, const Tensor&),
          Tensor (*prepare)(const Tensor&, ScalarType)>
Tensor warp_score(const Tensor& cache, const Tensor& flow, const Tensor& weight,
                  const Tensor& bias) {
  check(cache, flow, weight, bias);
  const ScalarType type = kernel_type(cache), sum_type = accumulate_type(type);
  const Tensor source = nhwc(cache, type), displacement = nhwc(flow, sum_type);
  const Tensor matrix = prepare(weight, sum_type);
  const Tensor added = torch::stable::contiguous(cast(bias, sum_type));
  const Tensor scores =
      empty_like(cache, {cache.size(0), weight.size(0), cache.size(2), cache.size(3)}, sum_type,
                 MemoryFormat::ChannelsLast);
  if (scores.numel() > 0)
    run({source.const_data_ptr(), displacement.const_data_ptr(), matrix.const_data_ptr(),
         added.const_data_ptr(), scores.mutable_data_ptr(), to_dtype(type), cache.size(0),
         int(cache.size(1)), int(cache.size(2)), int(cache.size(3)), int(weight.size(0))},
        source);
  return torch::stable::contiguous(scores, layout_of(cache));
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def("warp_score(Tensor cache, Tensor flow, Tensor weight, Tensor bias) -> Tensor");
}

#ifdef ACCEL_RT_CPU
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, CPU, m) {
  m.impl("warp_score", TORCH_BOX((&warp_score<score_cpu, matrix_cpu>)));
}
#endif

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("warp_score", TORCH_BOX((&warp_score<score_cuda, matrix_cuda>)));
}
#endif

}  // namespace accel_rt
