#include "../common/tensor.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

void check(const Tensor& scores, const std::vector<int64_t>& size, double extent_y,
           double extent_x) {
  require(is_floating4(scores) && scores.size(1) >= 1 && scores.size(1) <= 255 &&
              scores.size(2) >= 1 && scores.size(3) >= 1 &&
              sides_fit(scores.size(2), scores.size(3)) && size.size() == 2 &&
              sides_fit(size[0], size[1]) && extent_y > 0 && extent_x > 0,
          "upsample_argmax");
}

// [N, H, W], uninitialised
Tensor output(const Tensor& scores, const std::vector<int64_t>& size, ScalarType type) {
  return torch::stable::empty(std::array<int64_t, 3>{scores.size(0), size[0], size[1]}, type,
                              std::nullopt, scores.device());
}

#ifdef ACCEL_RT_CPU
struct UpsampleArgmaxCpu {
  static void label(const UpsampleArgmaxParams& p, const Tensor&) {
    parallel(p.images * p.out_height, int64_t(p.classes) * p.width + p.out_width,
             [&](int64_t begin, int64_t end) { ACCEL_RT_KERNEL(upsample_argmax)(p, begin, end); });
  }
};
#endif

#ifdef ACCEL_RT_CUDA
struct UpsampleArgmaxCuda {
  static void label(const UpsampleArgmaxParams& p, const Tensor& on) {
    launch(on, [&](void* stream) { return upsample_argmax_cuda(p, stream); });
  }
};
#endif

// Labels; margins, too, if they are given memory
template <class Device>
Tensor label(const Tensor& scores, const std::vector<int64_t>& size, double extent_y,
             double extent_x, float* margins) {
  const Tensor source = in_order(scores, ScalarType::Float);
  const Tensor labels = output(scores, size, ScalarType::Byte);
  if (labels.numel() > 0)
    Device::label(
        {static_cast<const float*>(source.const_data_ptr()),
         static_cast<uint8_t*>(labels.mutable_data_ptr()), margins, scores.size(0),
         int(scores.size(1)), int(scores.size(2)), int(scores.size(3)), int(size[0]), int(size[1]),
         double(scores.size(2)) / extent_y, double(scores.size(3)) / extent_x},
        source);
  return labels;
}

template <class Device>
Tensor upsample_argmax(const Tensor& scores, std::vector<int64_t> size, double extent_y,
                       double extent_x) {
  check(scores, size, extent_y, extent_x);
  return label<Device>(scores, size, extent_y, extent_x, nullptr);
}

template <class Device>
std::tuple<Tensor, Tensor> upsample_argmax_margin(const Tensor& scores, std::vector<int64_t> size,
                                                  double extent_y, double extent_x) {
  check(scores, size, extent_y, extent_x);
  const Tensor margins = output(scores, size, ScalarType::Float);
  float* data = static_cast<float*>(margins.mutable_data_ptr());
  return {label<Device>(scores, size, extent_y, extent_x, data), margins};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def("upsample_argmax(Tensor scores, SymInt[] size, float extent_y, float extent_x) -> Tensor");
  m.def(
      "upsample_argmax_margin(Tensor scores, SymInt[] size, float extent_y, float extent_x) -> "
      "(Tensor, Tensor)");
}

#ifdef ACCEL_RT_CPU
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, CPU, m) {
  m.impl("upsample_argmax", TORCH_BOX(&upsample_argmax<UpsampleArgmaxCpu>));
  m.impl("upsample_argmax_margin", TORCH_BOX(&upsample_argmax_margin<UpsampleArgmaxCpu>));
}
#endif

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("upsample_argmax", TORCH_BOX(&upsample_argmax<UpsampleArgmaxCuda>));
  m.impl("upsample_argmax_margin", TORCH_BOX(&upsample_argmax_margin<UpsampleArgmaxCuda>));
}
#endif

}  // namespace accel_rt
