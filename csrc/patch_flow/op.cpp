#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_CUDA
Tensor patch_flow(const Tensor& current, const Tensor& previous, const Tensor& flow, int64_t rounds,
                  int64_t iterations, double damping) {
  const auto is_float = [&](const Tensor& tensor, int64_t dims) {
    return tensor.dim() == dims && tensor.scalar_type() == ScalarType::Float &&
           tensor.device() == current.device();
  };
  require(is_float(current, 3) && is_float(previous, 3) && is_float(flow, 4), "patch_flow");
  for (int i = 0; i < 3; ++i) require(previous.size(i) == current.size(i), "patch_flow");
  const int64_t images = current.size(0), height = current.size(1), width = current.size(2);
  require(flow.size(0) == images && flow.size(1) == 2 && std::min(height, width) >= patch_side &&
              std::min(flow.size(2), flow.size(3)) > 0 && sides_fit(height, width) &&
              sides_fit(flow.size(2), flow.size(3)) && rounds > 0 && iterations >= 0 &&
              damping > 0 && std::max(rounds, iterations) <= max_side,
          "patch_flow");
  const Tensor first = torch::stable::contiguous(current);
  const Tensor second = torch::stable::contiguous(previous);
  const Tensor begin = torch::stable::contiguous(flow);
  const Tensor out =
      empty_like(begin, {images, 2, height, width}, ScalarType::Float, MemoryFormat::Contiguous);
  const int rows = patches_along(int(height)), columns = patches_along(int(width));
  const Tensor found = torch::stable::empty(std::array<int64_t, 5>{2, images, rows, columns, 2},
                                            ScalarType::Float, std::nullopt, current.device());
  float* const of_rounds = static_cast<float*>(found.mutable_data_ptr());
  const PatchFlowParams p{static_cast<const float*>(first.const_data_ptr()),
                          static_cast<const float*>(second.const_data_ptr()),
                          static_cast<const float*>(begin.const_data_ptr()),
                          {of_rounds, of_rounds + 2 * images * rows * columns},
                          static_cast<float*>(out.mutable_data_ptr()),
                          images,
                          int(height),
                          int(width),
                          int(begin.size(2)),
                          int(begin.size(3)),
                          rows,
                          columns,
                          int(rounds),
                          int(iterations),
                          float(damping)};
  if (images > 0) launch(current, [&](void* stream) { return patch_flow_cuda(p, stream); });
  return out;
}
#endif

}  // namespace

// The CPU's implementation is registered from Python.
STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def(
      "patch_flow(Tensor current, Tensor previous, Tensor flow, int rounds, int iterations, "
      "float damping) -> Tensor");
}

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("patch_flow", TORCH_BOX(&patch_flow));
}
#endif

}  // namespace accel_rt
