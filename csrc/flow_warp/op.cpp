#include <vector>

#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

void check(const Tensor& input, const Tensor& flow) {
  require(is_floating4(input) &&
              is_like(flow, {input.size(0), 2, input.size(2), input.size(3)}, input) &&
              sides_fit(input.size(2), input.size(3)),
          "flow_warp");
}

#ifdef ACCEL_RT_CPU
struct FlowWarpCpu {
  static constexpr bool adds = false;  // to a zeroed gradient, rather than write it

  static void warp(const FlowWarpParams& p, const Tensor&) {
    if (p.planar) {
      parallel(p.images * p.height, p.width * p.channels,
               [&](int64_t begin, int64_t end) { ACCEL_RT_KERNEL(flow_warp_nchw)(p, begin, end); });
    } else {
      parallel(p.images * p.height * p.width, p.channels,
               [&](int64_t begin, int64_t end) { ACCEL_RT_KERNEL(flow_warp_nhwc)(p, begin, end); });
    }
  }

  static void backward(const FlowWarpBackwardParams& p, bool need_input, bool need_flow,
                       const Tensor&) {
    const int64_t rows = p.images * p.height, pixels = rows * p.width;
    if (need_flow) {
      parallel(pixels, p.channels, [&](int64_t begin, int64_t end) {
        ACCEL_RT_KERNEL(flow_warp_grad_flow)(p, begin, end);
      });
    }
    if (need_input) {
      std::vector<RowRange> reach(rows);
      parallel(rows, p.width, [&](int64_t begin, int64_t end) {
        ACCEL_RT_KERNEL(flow_warp_reach)(p, reach.data(), begin, end);
      });
      parallel(pixels, p.channels, [&](int64_t begin, int64_t end) {
        ACCEL_RT_KERNEL(flow_warp_grad_input)(p, reach.data(), begin, end);
      });
    }
  }
};
#endif

#ifdef ACCEL_RT_CUDA
struct FlowWarpCuda {
  static constexpr bool adds = true;

  static void warp(const FlowWarpParams& p, const Tensor& on) {
    launch(on, [&](void* stream) { return flow_warp_cuda(p, stream); });
  }

  static void backward(const FlowWarpBackwardParams& p, bool need_input, bool need_flow,
                       const Tensor& on) {
    launch(on,
           [&](void* stream) { return flow_warp_backward_cuda(p, need_input, need_flow, stream); });
  }
};
#endif

template <class Device>
void flow_warp_out(const Tensor& input, const Tensor& flow, bool zeros, Tensor out) {
  check(input, flow);
  require(is_like(out, sizes4(input), input) && out.scalar_type() == input.scalar_type(),
          "flow_warp");
  if (input.numel() == 0) return;
  const bool planar = !is_channels_last(input);
  const ScalarType type = kernel_type(input);
  const MemoryFormat format = planar ? MemoryFormat::Contiguous : MemoryFormat::ChannelsLast;
  const Tensor source = torch::stable::contiguous(cast(input, type), format);
  const Tensor displacement = nhwc(flow, accumulate_type(type));
  const bool in_place = out.scalar_type() == type && is_dense(out, format);
  Tensor target = in_place ? out : empty_like(source, sizes4(input), type, format);
  Device::warp({source.const_data_ptr(), displacement.const_data_ptr(), target.mutable_data_ptr(),
                to_dtype(type), input.size(0), input.size(1), int(input.size(2)),
                int(input.size(3)), zeros, planar},
               source);
  if (!in_place) torch::stable::copy_(out, target);
}

template <class Device>
Tensor flow_warp(const Tensor& input, const Tensor& flow, bool zeros) {
  check(input, flow);
  Tensor out = empty_like(input, sizes4(input), input.scalar_type(), layout_of(input));
  flow_warp_out<Device>(input, flow, zeros, out);
  return out;
}

// grad_input is of the accumulation type where a device adds to it, or else of the kernel's.
template <class Device>
std::tuple<Tensor, Tensor> flow_warp_backward(const Tensor& grad_output, const Tensor& input,
                                              const Tensor& flow, bool zeros, bool need_input,
                                              bool need_flow) {
  check(input, flow);
  require(is_like(grad_output, sizes4(input), input), "flow_warp");
  const ScalarType type = kernel_type(input), sum_type = accumulate_type(type);
  const Tensor grad = nhwc(grad_output, type), source = nhwc(input, type);
  const Tensor displacement = nhwc(flow, sum_type);
  constexpr bool adds = Device::adds;
  constexpr auto new_gradient = adds ? zero_gradient : empty_gradient;
  const Tensor grad_input =
      need_input ? new_gradient(input, sizes4(input), adds ? sum_type : type) : no_tensor(input);
  const Tensor grad_flow =
      need_flow ? zero_gradient(input, sizes4(flow), sum_type) : no_tensor(input);
  if (input.numel() > 0)
    Device::backward({grad.const_data_ptr(), source.const_data_ptr(), displacement.const_data_ptr(),
                      need_input ? grad_input.mutable_data_ptr() : nullptr,
                      need_flow ? grad_flow.mutable_data_ptr() : nullptr, to_dtype(type),
                      input.size(0), input.size(1), int(input.size(2)), int(input.size(3)), zeros},
                     need_input, need_flow, source);
  return {need_input ? finish(grad_input, input) : grad_input,
          need_flow ? finish(grad_flow, flow) : grad_flow};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def("flow_warp(Tensor input, Tensor flow, bool zeros) -> Tensor");
  m.def("flow_warp_out(Tensor input, Tensor flow, bool zeros, Tensor(a!) out) -> ()");
  m.def(
      "flow_warp_backward(Tensor grad_output, Tensor input, Tensor flow, bool zeros, "
      "bool need_input, bool need_flow) -> (Tensor, Tensor)");
}

#ifdef ACCEL_RT_CPU
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, CPU, m) {
  m.impl("flow_warp", TORCH_BOX(&flow_warp<FlowWarpCpu>));
  m.impl("flow_warp_out", TORCH_BOX(&flow_warp_out<FlowWarpCpu>));
  m.impl("flow_warp_backward", TORCH_BOX(&flow_warp_backward<FlowWarpCpu>));
}
#endif

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("flow_warp", TORCH_BOX(&flow_warp<FlowWarpCuda>));
  m.impl("flow_warp_out", TORCH_BOX(&flow_warp_out<FlowWarpCuda>));
  m.impl("flow_warp_backward", TORCH_BOX(&flow_warp_backward<FlowWarpCuda>));
}
#endif

}  // namespace accel_rt
