#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_CUDA
Tensor compose(const Tensor& older, const Tensor& newer) {
  require(is_floating4(older) && older.size(1) == 2 && is_like(newer, sizes4(older), older) &&
              newer.scalar_type() == older.scalar_type() &&
              older.scalar_type() != ScalarType::Double && sides_fit(older.size(2), older.size(3)),
          "compose_flow");
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
