#include "../common/packed.h"
#include "amx.h"
#include "kernel.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

void check(const Tensor& cache, const Tensor& flow, const Tensor& weight, const Tensor& bias) {
  require(is_floating4(cache) && cache.size(1) > 0 &&
              is_like(flow, {cache.size(0), 2, cache.size(2), cache.size(3)}, cache) &&
              sides_fit(cache.size(2), cache.size(3)) && weight.dim() == 2 &&
              is_floating(weight.scalar_type()) && weight.size(1) == cache.size(1) &&
              weight.size(0) > 0 && weight.device() == cache.device() && bias.dim() == 1 &&
              is_floating(bias.scalar_type()) && bias.size(0) == weight.size(0) &&
              bias.device() == cache.device(),
          "warp_score");
}

// weight [C, K] of `type` in the corner of zeros whose sides are multiples of the kernel's steps
Tensor padded_weight(const Tensor& weight, ScalarType type, int class_step) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  const int64_t whole[2] = {padded(to_int(rows), class_step),
                            padded(to_int(columns), score_depth_step)};
  if (whole[0] == rows && whole[1] == columns) return in_order(weight, type);
  Tensor result =
      torch::stable::new_zeros(weight, std::array<int64_t, 2>{whole[0], whole[1]}, type);
  Tensor top = torch::stable::narrow(result, 0, 0, rows);
  Tensor part = torch::stable::narrow(top, 1, 0, columns);
  torch::stable::copy_(part, weight);
  return result;
}

#ifdef ACCEL_RT_CPU
struct WarpScoreCpu {
  static WeightLayout layout([[maybe_unused]] const WarpScoreParams& p) {
#ifdef ACCEL_RT_X86
    if (has_amx() && warp_score_amx_fits(p.dtype, p.depth)) return WeightLayout::amx;
#endif
    return WeightLayout::plain;
  }

  static void score(WarpScoreParams p, const Tensor& weight, const Tensor&) {
#ifdef ACCEL_RT_X86
    if (layout(p) == WeightLayout::amx) return score_amx(p, weight);
#endif
    const ScalarType type = p.dtype == DType::f64 ? ScalarType::Double : ScalarType::Float;
    const Tensor matrix = padded_weight(weight, type, 1);
    p.weight = matrix.const_data_ptr();
    for_pixels(p, [&](int64_t begin, int64_t end) { ACCEL_RT_KERNEL(warp_score)(p, begin, end); });
  }

 private:
  template <class F>
  static void for_pixels(const WarpScoreParams& p, const F& function) {
    parallel(p.images * p.height * p.width, int64_t(p.depth) * p.classes, function);
  }

#ifdef ACCEL_RT_X86
  static void score_amx(WarpScoreParams p, const Tensor& weight) {
    // A term holds all of bfloat16.
    const int terms = weight.scalar_type() == ScalarType::BFloat16 ? 1 : 3;
    const Tensor floats = in_order(weight, ScalarType::Float);
    const std::array<int64_t, 1> elements{warp_score_amx_packed(p.classes, p.depth, terms)};
    const Tensor packed =
        torch::stable::empty(elements, ScalarType::BFloat16, std::nullopt, weight.device());
    p.weight = packed.const_data_ptr();
    warp_score_amx_pack(static_cast<const float*>(floats.const_data_ptr()),
                        packed.mutable_data_ptr(), p.dtype, p.classes, p.depth, terms);
    for_pixels(p, [&](int64_t begin, int64_t end) { warp_score_amx(p, terms, begin, end); });
  }
#endif
};
#endif

#ifdef ACCEL_RT_CUDA
struct WarpScoreCuda {
  static void score(WarpScoreParams p, const Tensor& weight, const Tensor& on) {
    const Tensor matrix = padded_weight(weight, ScalarType::Float, score_class_step);
    p.weight = matrix.const_data_ptr();
    launch(on, [&](void* stream) { return warp_score_cuda(p, stream); });
  }
};
#endif

// A device lays the weight out as its kernel wants it.
template <class Device>
Tensor warp_score(const Tensor& cache, const Tensor& flow, const Tensor& weight,
                  const Tensor& bias) {
  check(cache, flow, weight, bias);
  const ScalarType type = kernel_type(cache), sum_type = accumulate_type(type);
  const Tensor source = nhwc(cache, type), displacement = nhwc(flow, sum_type);
  const Tensor added = in_order(bias, sum_type);
  const Tensor scores =
      empty_like(cache, {cache.size(0), weight.size(0), cache.size(2), cache.size(3)}, sum_type,
                 MemoryFormat::ChannelsLast);
  if (scores.numel() > 0)
    Device::score(
        {source.const_data_ptr(), displacement.const_data_ptr(), nullptr, added.const_data_ptr(),
         scores.mutable_data_ptr(), to_dtype(type), cache.size(0), to_int(cache.size(1)),
         int(cache.size(2)), int(cache.size(3)), to_int(weight.size(0))},
        weight, source);
  return in_layout_of(scores, cache);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def("warp_score(Tensor cache, Tensor flow, Tensor weight, Tensor bias) -> Tensor");
}

#ifdef ACCEL_RT_CPU
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, CPU, m) {
  m.impl("warp_score", TORCH_BOX(&warp_score<WarpScoreCpu>));
}
#endif

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("warp_score", TORCH_BOX(&warp_score<WarpScoreCuda>));
}
#endif

}  // namespace accel_rt
