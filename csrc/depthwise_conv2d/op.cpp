#include <limits>

#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

#ifdef ACCEL_RT_CUDA
Tensor convolve(const Tensor& input, const Tensor& weight, const Tensor& bias, int64_t stride,
                int64_t padding, int64_t dilation, double input_least, double input_most,
                double least, double most) {
  const auto fits = [&](const Tensor& tensor) {
    return tensor.scalar_type() == input.scalar_type() && tensor.device() == input.device();
  };
  require(is_floating4(input) && input.scalar_type() != ScalarType::Double &&
              sides_fit(input.size(2), input.size(3)) && weight.dim() == 3 && fits(weight) &&
              (weight.size(0) == 3 || weight.size(0) == 5) && weight.size(1) == weight.size(0) &&
              weight.size(2) == input.size(1) && bias.dim() == 1 && fits(bias) &&
              bias.size(0) == input.size(1) && (stride == 1 || stride == 2) && 0 <= padding &&
              padding <= max_side && 1 <= dilation && dilation <= max_side && input_least <= 0 &&
              0 <= input_most,
          "depthwise_conv2d");
  const auto side = [&](int64_t size) {
    return (size + 2 * padding - dilation * (weight.size(0) - 1) - 1) / stride + 1;
  };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Size4 size{input.size(0), input.size(1), side(input.size(2)), side(input.size(3))};
  require(size[2] > 0 && size[3] > 0, "depthwise_conv2d");
  const ScalarType type = input.scalar_type();
  const Tensor from = nhwc(input, type);
  const Tensor by = in_order(weight, type), shift = in_order(bias, type);
  const Tensor out = empty_like(input, size, type, MemoryFormat::ChannelsLast);
  if (out.numel() > 0) {
    const DepthwiseParams p{from.const_data_ptr(),
                            by.const_data_ptr(),
                            shift.const_data_ptr(),
                            out.mutable_data_ptr(),
                            to_dtype(type),
                            size[0],
                            to_int(size[1]),
                            int(input.size(2)),
                            int(input.size(3)),
                            to_int(size[2]),
                            to_int(size[3]),
                            int(weight.size(0)),
                            int(stride),
                            int(padding),
                            int(dilation),
                            input_least > -infinity || input_most < infinity,
                            float(input_least),
                            float(input_most),
                            float(least),
                            float(most)};
    launch(input, [&](void* stream) { return depthwise_conv2d_cuda(p, stream); });
  }
  return in_layout_of(out, input);
}
#endif

}  // namespace

// The CPU's implementation is registered from Python.
STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def(
      "depthwise_conv2d(Tensor input, Tensor weight, Tensor bias, int stride, int padding, "
      "int dilation, float input_least, float input_most, float least, float most) -> Tensor");
}

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&convolve));
}
#endif

}  // namespace accel_rt
