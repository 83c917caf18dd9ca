#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/area.h"
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_CUDA
Tensor reduce(const Tensor& flow, std::vector<int64_t> padded, std::vector<int64_t> cells,
              double factor_x, double factor_y) {
  require(is_floating4(flow) && flow.scalar_type() != ScalarType::Double && flow.size(1) == 2 &&
              flow.size(2) > 0 && flow.size(3) > 0 && padded.size() == 2 && cells.size() == 2,
          "reduce_flow");
  for (int i = 0; i < 2; ++i)
    require(cells[i] > 0 && cells[i] <= padded[i] && padded[i] >= flow.size(2 + i) &&
                padded[i] <= max_area_side,
            "reduce_flow");
  const Tensor out = empty_like(flow, {flow.size(0), 2, cells[0], cells[1]}, ScalarType::Float,
                                MemoryFormat::ChannelsLast);
  const ReduceFlowParams p{flow.const_data_ptr(),
                           {flow.stride(0), flow.stride(1), flow.stride(2), flow.stride(3)},
                           static_cast<float*>(out.mutable_data_ptr()),
                           to_dtype(flow.scalar_type()),
                           flow.size(0),
                           int(flow.size(2)),
                           int(flow.size(3)),
                           int(padded[0]),
                           int(padded[1]),
                           int(cells[0]),
                           int(cells[1]),
                           {float(factor_x), float(factor_y)}};
  if (p.images > 0) launch(flow, [&](void* stream) { return reduce_flow_cuda(p, stream); });
  return out;
}
#endif

}  // namespace

// The CPU's implementation is registered from Python.
STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def(
      "reduce_flow(Tensor flow, SymInt[] padded, SymInt[] cells, float factor_x, float factor_y) "
      "-> Tensor");
}

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("reduce_flow", TORCH_BOX(&reduce));
}
#endif

}  // namespace accel_rt
