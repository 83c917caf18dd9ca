#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_CUDA
Tensor compose(const Tensor& older, const Tensor& newer) {
  STD_TORCH_CHECK(older.dim() == 4 && older.size(1) == 2 && is_floating(older.scalar_type()) &&
                      older.scalar_type() != ScalarType::Double,
                  "compose_flow: flows must be [N, 2, H, W] of float32, bfloat16 or float16");
  STD_TORCH_CHECK(newer.dim() == 4 && newer.sizes() == older.sizes() &&
                      newer.scalar_type() == older.scalar_type() &&
                      newer.device() == older.device(),
                  "compose_flow: both flows must have one shape, element type and device");
  const Tensor from = nhwc(older, ScalarType::Float), by = nhwc(newer, ScalarType::Float);
  const Tensor out =
      empty_like(newer, sizes4(newer), ScalarType::Float, MemoryFormat::ChannelsLast);
  if (out.numel() > 0) {
    const ComposeFlowParams p{static_cast<const float*>(from.const_data_ptr()),
                              static_cast<const float*>(by.const_data_ptr()),
                              static_cast<float*>(out.mutable_data_ptr()),
                              newer.size(0),
                              int(newer.size(2)),
                              int(newer.size(3))};
    launch(newer, [&](void* stream) { return compose_flow_cuda(p, stream); });
  }
  return finish(out, newer);
}
#endif

}  // namespace

// The CPU's implementation is registered from Python.
STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def("compose_flow(Tensor older, Tensor newer) -> Tensor");
}

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("compose_flow", TORCH_BOX(&compose));
}
#endif

}  // namespace accel_rt
