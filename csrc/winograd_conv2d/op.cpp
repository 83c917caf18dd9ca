#include "../common/packed.h"
#include "kernel.h"

#ifdef ACCEL_RT_CPU
namespace accel_rt {
namespace {

constexpr int64_t panel = winograd_output_step;

int64_t whole_panels(int64_t outputs) { return (outputs + panel - 1) / panel * panel; }

bool has_kernel(ScalarType type) {
  return type == ScalarType::Float || (type == ScalarType::BFloat16 && has_avx512_bf16());
}

bool is_served(const Tensor& weight, int64_t side) {
  return weight.dim() == 4 && weight.size(0) > 0 && weight.size(1) > 0 &&
         weight.size(1) % winograd_channel_step == 0 && weight.size(2) == side &&
         weight.size(3) == side && has_kernel(weight.scalar_type()) && weight.is_cpu();
}

// Panels where such a weight [outputs, channels, 3, 3] is served, and faster than by oneDNN: not on
// processors with AMX, nor for few outputs, which waste most of a panel.
WeightLayout layout(const Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const bool pays = simd_level() != Simd::baseline &&
                    !(weight.scalar_type() == ScalarType::BFloat16 && has_amx()) &&
                    weight.size(1) >= 2 * winograd_channel_step &&
                    2 * whole_panels(outputs) <= 3 * outputs;
  return is_served(weight, 3) && pays ? WeightLayout::panels : WeightLayout::plain;
}

bool winograd_conv2d_pays(const Tensor& weight) { return layout(weight) == WeightLayout::panels; }

// weight [outputs, channels, 3, 3] as winograd_conv2d() wants it: [whole panels, channels, 4, 4]
Tensor winograd_conv2d_pack(const Tensor& weight) {
  require(is_served(weight, 3), "winograd_conv2d");
  const int64_t outputs = weight.size(0), channels = weight.size(1);
  const DType dtype = to_dtype(weight.scalar_type());
  const Tensor dense = torch::stable::contiguous(weight, MemoryFormat::ChannelsLast);
  Tensor packed =
      empty_packed(weight, {whole_panels(outputs), channels, winograd_span, winograd_span});
  torch::stable::zero_(packed);
  torch::stable::parallel_for(0, outputs, panel, [&](int64_t begin, int64_t end) {
    ACCEL_RT_KERNEL(winograd_pack)
    (dtype, dense.const_data_ptr(), packed.mutable_data_ptr(), to_int(channels), begin, end);
  });
  return packed;
}

// In blocks of tiles large enough for the weights that each of them reads, small enough to stay in
// a core's cache
void convolve(const WinogradParams& p, int64_t element_size) {
  constexpr int64_t block_bytes = 800 * 1024;
  const int64_t tile_bytes = winograd_places * (p.channels * element_size + panel * 4);
  const int64_t most = std::max<int64_t>(block_bytes / tile_bytes, 16);
  parallel_pieces(p.tiles(), most, 1, [&](int64_t begin, int64_t end, int64_t size) {
    ACCEL_RT_KERNEL(winograd)(p, begin, end, size);
  });
}

// bias [outputs] as floats, filled up to whole panels
Tensor whole_bias(const Tensor& bias) {
  const int64_t outputs = bias.size(0);
  if (outputs == whole_panels(outputs)) return in_order(bias, ScalarType::Float);
  Tensor whole = torch::stable::new_zeros(bias, std::array<int64_t, 1>{whole_panels(outputs)},
                                          ScalarType::Float);
  Tensor part = torch::stable::narrow(whole, 0, 0, outputs);
  torch::stable::copy_(part, bias);
  return whole;
}

// relu(conv2d() + shortcut), with weights from winograd_conv2d_pack()
Tensor winograd_conv2d(const Tensor& input, const Tensor& packed, const Tensor& bias,
                       const std::optional<Tensor>& shortcut, bool relu, int64_t dilation) {
  require_packed(
      is_packed(packed, input) && is_served(packed, winograd_span) && packed.size(0) % panel == 0,
      "winograd_conv2d");
  const ScalarType type = packed.scalar_type();
  require(input.dim() == 4 && input.size(1) == packed.size(1) &&
              sides_fit(input.size(2), input.size(3)) && bias.dim() == 1 &&
              bias.scalar_type() == type && whole_panels(bias.size(0)) == packed.size(0) &&
              dilation > 0,
          "winograd_conv2d");
  // Of a dilation beyond the image only the middle taps are inside, as of one that reaches its edge
  const int64_t spread = std::min(dilation, std::max<int64_t>({input.size(2), input.size(3), 1}));
  const Size4 sizes = {input.size(0), bias.size(0), input.size(2), input.size(3)};
  const Tensor source = nhwc(input, type), added = whole_bias(bias);
  const Tensor out = empty_like(input, sizes, type, MemoryFormat::ChannelsLast);
  ConvFinish rest{static_cast<const float*>(added.const_data_ptr()), nullptr, relu};
  const std::optional<Tensor> base =
      take_shortcut(shortcut, sizes, input, type, rest, "winograd_conv2d");
  if (out.numel() > 0)
    convolve({source.const_data_ptr(), packed.const_data_ptr(), out.mutable_data_ptr(),
              to_dtype(type), sizes[0], to_int(input.size(1)), int(sizes[2]), int(sizes[3]),
              to_int(sizes[1]), int(spread), rest},
             out.element_size());
  return finish(out, input);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ACCEL_RT_NAMESPACE, m) {
  m.def("winograd_conv2d_pays(Tensor weight) -> bool");
  m.def("winograd_conv2d_pack(Tensor weight) -> Tensor");
  m.def(
      "winograd_conv2d(Tensor input, Tensor packed, Tensor bias, Tensor? shortcut, bool relu, "
      "int dilation) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(ACCEL_RT_NAMESPACE, CPU, m) {
  m.impl("winograd_conv2d_pays", TORCH_BOX(&winograd_conv2d_pays));
  m.impl("winograd_conv2d_pack", TORCH_BOX(&winograd_conv2d_pack));
  m.impl("winograd_conv2d", TORCH_BOX(&winograd_conv2d));
}

}  // namespace accel_rt
#endif
