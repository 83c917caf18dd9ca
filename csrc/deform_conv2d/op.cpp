#include <limits>

#include "../common/packed.h"
#include "amx.h"
#include "problem.h"
#ifdef ACCEL_RT_CUDA
#include "../common/cuda_launch.h"
#endif

namespace accel_rt {
namespace {

// tile_bytes is the size of a tile's columns: large enough for the matrix product to reach its
// speed, small enough on the CPU to stay in the last-level cache.
#ifdef ACCEL_RT_CPU
struct DeformCpu {
  // Below 32 MB, up to which malloc keeps the memory of the last call
  static constexpr int64_t tile_bytes = int64_t(30) << 20;

  // The whole convolution, where there is something faster than columns and a matrix product;
  // returns whether that was done.
  static bool convolve(const DeformParams& p, const Tensor& weight,
                       const std::optional<Tensor>& bias, const Tensor& out,
                       const ConvFinish& finish = {}, bool laid_out = false) {
    if (out.numel() == 0 || layout(p, out.size(1)) == WeightLayout::plain) return false;
    convolve_packed(p, laid_out ? weight : pack(p, weight), bias, finish, out);
    return true;
  }

  // How weights are laid out for this processor and such a convolution
  static WeightLayout layout([[maybe_unused]] const DeformParams& p,
                             [[maybe_unused]] int64_t outputs) {
#ifdef ACCEL_RT_X86
    if (has_amx() && deform_amx_fits(p, outputs)) return WeightLayout::amx;
    const bool type_fits =
        p.dtype == DType::bf16 ? has_avx512_bf16() && p.channels % 2 == 0 : p.dtype == DType::f32;
    if (type_fits && p.groups == 1 && outputs % deform_panel_block == 0)
      return WeightLayout::panels;
#endif
    return WeightLayout::plain;
  }

  // weight [outputs, KH, KW, C] laid out so, in as many elements
  static Tensor pack(const DeformParams& p, const Tensor& weight) {
    const int64_t outputs = weight.size(0);
    const WeightLayout wanted = layout(p, outputs);
    const Tensor packed = empty_packed(weight, sizes4(weight));
    const void* from = weight.const_data_ptr();
    void* to = packed.mutable_data_ptr();
    const int64_t block = wanted == WeightLayout::amx ? deform_amx_block : deform_panel_block;
    torch::stable::parallel_for(0, outputs / block, 1, [&](int64_t begin, int64_t end) {
#ifdef ACCEL_RT_X86
      if (wanted == WeightLayout::amx) return deform_amx_pack(p, from, to, outputs, begin, end);
#endif
      ACCEL_RT_KERNEL(deform_pack)(p, from, to, outputs, begin * block, end * block);
    });
    return packed;
  }

  // The whole convolution, of which finish.bias is yet to come
  static void convolve_packed(const DeformParams& p, const Tensor& packed,
                              const std::optional<Tensor>& bias, ConvFinish finish,
                              const Tensor& out) {
    const int64_t outputs = out.size(1);
    const Tensor added =
        bias.has_value()
            ? cast(*bias, ScalarType::Float)
            : torch::stable::new_zeros(packed, std::array<int64_t, 1>{outputs}, ScalarType::Float);
    finish.bias = static_cast<const float*>(added.const_data_ptr());
    const void* weight = packed.const_data_ptr();
    void* output = out.mutable_data_ptr();
#ifdef ACCEL_RT_X86
    if (layout(p, outputs) == WeightLayout::amx) {
      STD_TORCH_CHECK(p.images * p.height * p.width <= std::numeric_limits<int>::max(),
                      "deform_conv2d: an input of more than 2^31 - 1 pixels");
      return in_tiles(out, deform_amx_block, [&](const DeformTile& pixels, int64_t most) {
        deform_amx(p, pixels, most, weight, finish, output, outputs);
      });
    }
#endif
    in_tiles(out, 1, [&](const DeformTile& pixels, int64_t most) {
      ACCEL_RT_KERNEL(deform_panels)(p, pixels, most, weight, finish, output, outputs);
    });
  }

  // The end of a convolution by columns
  static void finish(DType dtype, const ConvFinish& finish, const Tensor& out) {
    parallel(out.numel(), 1, [&](int64_t begin, int64_t end) {
      ACCEL_RT_KERNEL(deform_finish)(dtype, finish, out.mutable_data_ptr(), begin, end);
    });
  }

  // Calls function(pixels, most) for runs of an output's pixels on all threads: tiles of at most
  // that many pixels, as many for each thread, in whole blocks.
  template <class F>
  static void in_tiles(const Tensor& out, int64_t block, const F& function) {
    constexpr int64_t most = 384;
    const int64_t pixels = out.size(0) * out.size(2) * out.size(3);
    parallel_pieces(pixels, most, block, [&](int64_t begin, int64_t end, int64_t size) {
      function(DeformTile{begin, end - begin}, size);
    });
  }

  static void gather(const DeformParams& p, const DeformTile& tile, const Tensor& columns) {
    parallel(tile.pixels, int64_t(p.kernel_height) * p.kernel_width * p.channels,
             [&](int64_t begin, int64_t end) {
               ACCEL_RT_KERNEL(deform_gather)(p, tile, columns.mutable_data_ptr(), begin, end);
             });
  }

  static void backward(const DeformBackwardParams& p, const DeformTile& tile,
                       const Tensor& grad_columns) {
    const DeformParams& f = p.forward;
    const int64_t kernel_size = int64_t(f.kernel_height) * f.kernel_width;
    const void* grad = grad_columns.const_data_ptr();
    if (p.grad_offset != nullptr || p.grad_mask != nullptr) {
      parallel(tile.pixels, kernel_size * f.channels, [&](int64_t begin, int64_t end) {
        ACCEL_RT_KERNEL(deform_grad_offset)(p, tile, grad, begin, end);
      });
    }
    if (p.grad_input != nullptr) {
      // By blocks of a cache line at least, so that no two threads write the same one.
      constexpr int64_t block = 16;
      parallel((f.channels + block - 1) / block, tile.pixels * kernel_size * block,
               [&](int64_t begin, int64_t end) {
                 ACCEL_RT_KERNEL(deform_grad_input)
                 (p, tile, grad, begin * block, std::min<int64_t>(end * block, f.channels));
               });
    }
  }

  static void accumulate(const Tensor& sum, const Tensor& part) {
    parallel(sum.numel(), 1, [&](int64_t begin, int64_t end) {
      ACCEL_RT_KERNEL(deform_accumulate)
      (to_dtype(part.scalar_type()), sum.mutable_data_ptr(), part.const_data_ptr(), begin, end);
    });
  }
};
#endif

#ifdef ACCEL_RT_CUDA
struct DeformCuda {
  static constexpr int64_t tile_bytes = emulated_cuda ? 1 << 16 : 1 << 28;

  // Nothing is faster than columns and a matrix product of the library's.
  static bool convolve(const DeformParams&, const Tensor&, const std::optional<Tensor>&,
                       const Tensor&) {
    return false;
  }

  static void gather(const DeformParams& p, const DeformTile& tile, const Tensor& columns) {
    launch(columns, [&](void* stream) {
      return deform_gather_cuda(p, tile, columns.mutable_data_ptr(), stream);
    });
  }

  static void backward(const DeformBackwardParams& p, const DeformTile& tile,
                       const Tensor& grad_columns) {
    launch(grad_columns, [&](void* stream) {
      return deform_backward_cuda(p, tile, grad_columns.const_data_ptr(), stream);
    });
  }

  static void accumulate(const Tensor& sum, const Tensor& part) {
    launch(sum, [&](void* stream) {
      return deform_accumulate_cuda(to_dtype(part.scalar_type()), sum.mutable_data_ptr(),
                                    part.const_data_ptr(), sum.numel(), stream);
    });
  }
};
#endif

template <class Device>
void convolve_by_columns(const Problem& problem, std::optional<Tensor> bias, const Tensor& out) {
  const Tensor columns = problem.new_columns();
  problem.for_tiles([&](const DeformTile& tile) {
    Device::gather(problem.p, tile, columns);
    for (int64_t group = 0; group < problem.p.groups; ++group) {
      std::optional<Tensor> group_bias;
      if (bias.has_value())
        group_bias = torch::stable::narrow(*bias, 0, group * problem.group_outputs(),
                                           problem.group_outputs());
      Tensor result = problem.group_output(out, tile, group);
      linear(problem.group_columns(columns, tile, group),
             problem.group_weight(problem.weight, group), group_bias, result);
    }
  });
}

template <class Device>
Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const Tensor& weight,
                     const std::optional<Tensor>& bias, const std::optional<Tensor>& mask,
                     std::vector<int64_t> stride, std::vector<int64_t> padding,
                     std::vector<int64_t> dilation) {
  const Problem problem(input, offset, weight, mask, stride, padding, dilation, Device::tile_bytes);
  const std::optional<Tensor> added = problem.checked_bias(bias);
  const Tensor out = problem.new_output();
  if (!Device::convolve(problem.p, problem.weight, added, out))
    convolve_by_columns<Device>(problem, added, out);
  return finish(out, input);
}

#ifdef ACCEL_RT_CPU
// weight [outputs, channels / groups, KH, KW] as deform_conv2d_packed() wants it, in the same shape
Tensor deform_conv2d_pack(const Tensor& weight, int64_t channels, int64_t offset_groups) {
  require(is_floating4(weight) && weight.numel() > 0 && channels > 0 &&
              channels % weight.size(1) == 0 && offset_groups > 0 && channels % offset_groups == 0,
          "deform_conv2d");
  const Tensor dense = torch::stable::contiguous(weight, MemoryFormat::ChannelsLast);
  DeformParams p{};
  p.dtype = to_dtype(kernel_type(weight));
  p.channels = to_int(channels), p.groups = int(channels / weight.size(1));
  p.kernel_height = int(weight.size(2)), p.kernel_width = int(weight.size(3));
  p.offset_groups = int(offset_groups);
  const bool fits = weight.scalar_type() == kernel_type(weight) &&
                    DeformCpu::layout(p, weight.size(0)) != WeightLayout::plain;
  return fits ? DeformCpu::pack(p, dense) : torch::stable::clone(dense);
}

// relu(deform_conv2d() + shortcut), with weights from deform_conv2d_pack()
Tensor deform_conv2d_packed(const Tensor& input, const Tensor& offset, const Tensor& packed,
                            const std::optional<Tensor>& bias, const std::optional<Tensor>& mask,
                            const std::optional<Tensor>& shortcut, bool relu,
                            std::vector<int64_t> stride, std::vector<int64_t> padding,
                            std::vector<int64_t> dilation) {
  require_packed(is_packed(packed, input), "deform_conv2d");
  require(!bias.has_value() || bias->scalar_type() == input.scalar_type(), "deform_conv2d");
  const Problem problem(input, offset, packed, mask, stride, padding, dilation,
                        DeformCpu::tile_bytes);
  const DeformParams& p = problem.p;
  const std::optional<Tensor> added = problem.checked_bias(bias);
  ConvFinish rest{nullptr, nullptr, relu};
  const std::optional<Tensor> base =
      take_shortcut(shortcut, problem.output_sizes(), input, problem.type, rest, "deform_conv2d");
  const Tensor out = problem.new_output();
  const bool laid_out = packed.scalar_type() == problem.type;
  if (!DeformCpu::convolve(p, problem.weight, added, out, rest, laid_out)) {
    convolve_by_columns<DeformCpu>(problem, added, out);
    if (!rest.only_bias()) DeformCpu::finish(p.dtype, rest, out);
  }
  return finish(out, input);
}
#endif

// Gradients of input, offset, weight and mask; those not needed come back empty.
template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, std::vector<int64_t> stride, std::vector<int64_t> padding,
    std::vector<int64_t> dilation, bool need_input, bool need_offset, bool need_weight,
    bool need_mask) {
  const Problem problem(input, offset, weight, mask, stride, padding, dilation, Device::tile_bytes);
  const DeformParams& p = problem.p;
  require(is_like(grad_output, problem.output_sizes(), input) && (mask.has_value() || !need_mask),
          "deform_conv2d");

  const ScalarType sum_type = accumulate_type(problem.type);
  const Tensor grad = nhwc(grad_output, problem.type);
  const auto zeros = [&](bool needed, const Tensor& like) {
    return needed ? zero_gradient(like, sizes4(like), sum_type) : no_tensor(input);
  };
  const Tensor grad_input = zeros(need_input, input), grad_offset = zeros(need_offset, offset);
  const Tensor grad_weight = zeros(need_weight, weight);
  const Tensor grad_mask = zeros(need_mask, need_mask ? *mask : input);
  const DeformBackwardParams backward{p, need_offset ? grad_offset.mutable_data_ptr() : nullptr,
                                      need_mask ? grad_mask.mutable_data_ptr() : nullptr,
                                      need_input ? grad_input.mutable_data_ptr() : nullptr};

  const Tensor columns = problem.new_columns();
  const Tensor partial =
      need_weight
          ? torch::stable::empty(std::array<int64_t, 2>{problem.out_channels, problem.depth},
                                 problem.type, std::nullopt, input.device())
          : no_tensor(input);
  problem.for_tiles([&](const DeformTile& tile) {
    if (need_weight) {
      Device::gather(p, tile, columns);
      for (int64_t group = 0; group < p.groups; ++group) {
        Tensor result = problem.group_weight(partial, group);
        multiply(transposed(problem.group_output(grad, tile, group)),
                 problem.group_columns(columns, tile, group), result);
      }
      Device::accumulate(grad_weight, partial);
    }
    if (need_input || need_offset || need_mask) {
      for (int64_t group = 0; group < p.groups; ++group) {
        Tensor result = problem.group_columns(columns, tile, group);
        multiply(problem.group_output(grad, tile, group),
                 problem.group_weight(problem.weight, group), result);
      }
      Device::backward(backward, tile, columns);
    }
  });
  return {need_input ? finish(grad_input, input) : grad_input,
          need_offset ? finish(grad_offset, offset) : grad_offset,
          need_weight ? finish(grad_weight, weight) : grad_weight,
          need_mask ? finish(grad_mask, *mask) : grad_mask};
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def(
      "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
      "int[] stride, int[] padding, int[] dilation) -> Tensor");
  m.def(
      "deform_conv2d_backward(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, "
      "Tensor? mask, int[] stride, int[] padding, int[] dilation, bool need_input, "
      "bool need_offset, bool need_weight, bool need_mask) -> (Tensor, Tensor, Tensor, Tensor)");
#ifdef ACCEL_RT_CPU
  m.def("deform_conv2d_pack(Tensor weight, int channels, int offset_groups) -> Tensor");
  m.def(
      "deform_conv2d_packed(Tensor input, Tensor offset, Tensor packed, Tensor? bias, "
      "Tensor? mask, Tensor? shortcut, bool relu, int[] stride, int[] padding, int[] dilation) "
      "-> Tensor");
#endif
}

#ifdef ACCEL_RT_CPU
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, CPU, m) {
  m.impl("deform_conv2d", TORCH_BOX(&deform_conv2d<DeformCpu>));
  m.impl("deform_conv2d_backward", TORCH_BOX(&deform_conv2d_backward<DeformCpu>));
  m.impl("deform_conv2d_pack", TORCH_BOX(&deform_conv2d_pack));
  m.impl("deform_conv2d_packed", TORCH_BOX(&deform_conv2d_packed));
}
#endif

#ifdef ACCEL_RT_CUDA
STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, ACCEL_RT_CUDA_KEY, m) {
  m.impl("deform_conv2d", TORCH_BOX(&deform_conv2d<DeformCuda>));
  m.impl("deform_conv2d_backward", TORCH_BOX(&deform_conv2d_backward<DeformCuda>));
}
#endif

}  // namespace accel_rt
