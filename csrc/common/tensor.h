// The torch side of the ops: checks, layouts, allocation, threads and matrix products, all through
// the stable ABI of torch 2.10.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "dtype.h"

// The tests compile the ops a second time, into a namespace of their own, with the CUDA kernels
// running on the CPU.
#ifdef ACCEL_RT_EMULATED_CUDA
#define ACCEL_RT_NAMESPACE accel_rt_emulated
#define ACCEL_RT_CUDA_KEY CPU
#else
#define ACCEL_RT_NAMESPACE accel_rt
#define ACCEL_RT_CPU
#define ACCEL_RT_CUDA_KEY CUDA
#endif

namespace accel_rt {

#ifdef ACCEL_RT_EMULATED_CUDA
constexpr bool emulated_cuda = true;
#else
constexpr bool emulated_cuda = false;
#endif

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// What keeps a kernel inside of memory, for callers of torch.ops. accel_rt/ops checks arguments
// before it comes here, and says what is wrong with them.
inline void require(bool fits, const char* op) {
  STD_TORCH_CHECK(fits, op, ": the arguments do not fit together; accel_rt.ops.", op, " says why");
}

// Pixels of a side, padding included, that float positions tell apart; as in accel_rt/ops
constexpr int64_t max_side = int64_t(1) << 24;

inline bool sides_fit(int64_t height, int64_t width) {
  return 0 <= height && height <= max_side && 0 <= width && width <= max_side;
}

// A size as kernels count it
inline int to_int(int64_t size) {
  STD_TORCH_CHECK(size <= std::numeric_limits<int>::max(), "accel_rt: a size of ", size,
                  " is beyond 32 bits");
  return int(size);
}

inline bool is_floating(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
         type == ScalarType::Half;
}

inline DType to_dtype(ScalarType type) {
  switch (type) {
    case ScalarType::Double:
      return DType::f64;
    case ScalarType::BFloat16:
      return DType::bf16;
    case ScalarType::Half:
      return DType::f16;
    default:
      return DType::f32;
  }
}

// What sums, offsets and gradients of such elements are kept in.
inline ScalarType accumulate_type(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// What a kernel computes on: the CPU has no kernels for half precision and widens it.
inline ScalarType kernel_type(const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  const bool on_cuda = emulated_cuda || !tensor.is_cpu();
  STD_TORCH_CHECK(type != ScalarType::Double || !on_cuda, "accel_rt: float64 is for the CPU only");
  return type == ScalarType::Half && !on_cuda ? ScalarType::Float : type;
}

inline bool is_channels_last(const Tensor& tensor) {
  return tensor.size(1) > 1 && tensor.stride(1) == 1 && !tensor.is_contiguous();
}

// Whether the elements lie without gaps in the order of `format`.
inline bool is_dense(const Tensor& tensor, MemoryFormat format) {
  const int nchw[4] = {3, 2, 1, 0}, nhwc[4] = {1, 3, 2, 0};
  int64_t expected = 1;
  for (int dim : format == MemoryFormat::ChannelsLast ? nhwc : nchw) {
    if (tensor.size(dim) != 1 && tensor.stride(dim) != expected) return false;
    expected *= tensor.size(dim);
  }
  return true;
}

inline MemoryFormat layout_of(const Tensor& tensor) {
  return is_channels_last(tensor) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

inline Tensor cast(const Tensor& tensor, ScalarType type) {
  return tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type);
}

// What does nothing takes as long through torch's dispatcher as what does something, and with cold
// caches as long as a small operator: so the following ask first whether there is something to do.

// The tensor as elements of `type` in NHWC order
inline Tensor nhwc(const Tensor& tensor, ScalarType type) {
  if (tensor.scalar_type() == type && is_dense(tensor, MemoryFormat::ChannelsLast)) return tensor;
  return torch::stable::contiguous(cast(tensor, type), MemoryFormat::ChannelsLast);
}

// The tensor as elements of `type` in order
inline Tensor in_order(const Tensor& tensor, ScalarType type) {
  const Tensor result = cast(tensor, type);
  return result.is_contiguous() ? result : torch::stable::contiguous(result);
}

using Size4 = std::array<int64_t, 4>;

inline Size4 sizes4(const Tensor& tensor) {
  return {tensor.size(0), tensor.size(1), tensor.size(2), tensor.size(3)};
}

inline bool is_floating4(const Tensor& tensor) {
  return tensor.dim() == 4 && is_floating(tensor.scalar_type());
}

// Whether the tensor is of four dimensions of these sizes, of floating point, and on the device of
// `other`
inline bool is_like(const Tensor& tensor, const Size4& sizes, const Tensor& other) {
  return is_floating4(tensor) && sizes4(tensor) == sizes && tensor.device() == other.device();
}

inline Tensor empty_like(const Tensor& like, const Size4& size, ScalarType type,
                         MemoryFormat format) {
  return torch::stable::empty(size, type, std::nullopt, like.device(), std::nullopt, format);
}

// A gradient in NHWC order. On Linux a large one lies in huge pages, if the system has them: to
// touch fresh memory for the first time takes longer than the kernels, far longer by small pages.
// One thread touches it all: to several the system hands out pages in another order each time, and
// on a virtual machine more of them than it has backed by memory.
// Results of inference do without, since they can be given memory that is there.
inline Tensor empty_gradient(const Tensor& like, const Size4& size, ScalarType type) {
  const Tensor gradient = empty_like(like, size, type, MemoryFormat::ChannelsLast);
#ifdef __linux__
  constexpr uintptr_t page = uintptr_t(2) << 20;
  const uintptr_t bytes = gradient.numel() * gradient.element_size();
  if (gradient.is_cpu() && bytes >= 2 * page) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(gradient.mutable_data_ptr());
    const uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes) / page * page;
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
    madvise(reinterpret_cast<void*>(first), last - first, MADV_POPULATE_WRITE);
#endif
  }
#endif
  return gradient;
}

inline Tensor zero_gradient(const Tensor& like, const Size4& size, ScalarType type) {
  Tensor gradient = empty_gradient(like, size, type);
  torch::stable::zero_(gradient);
  return gradient;
}

// Stands for a gradient that nobody asked for.
inline Tensor no_tensor(const Tensor& like) {
  return torch::stable::empty(std::array<int64_t, 1>{0}, accumulate_type(like.scalar_type()),
                              std::nullopt, like.device());
}

// A result in NHWC order in the layout of `like`
inline Tensor in_layout_of(const Tensor& result, const Tensor& like) {
  return is_channels_last(like) ? result : torch::stable::contiguous(result);
}

// The same in its element type, too
inline Tensor finish(const Tensor& result, const Tensor& like) {
  return in_layout_of(cast(result, like.scalar_type()), like);
}

// A matrix view of memory that another tensor owns; the owner must outlive it.
inline Tensor matrix(const Tensor& owner, int64_t first_element, int64_t rows, int64_t columns,
                     int64_t row_stride) {
  char* data = static_cast<char*>(owner.mutable_data_ptr()) + first_element * owner.element_size();
  return torch::stable::from_blob(data, std::array<int64_t, 2>{rows, columns},
                                  std::array<int64_t, 2>{row_stride, 1}, owner.device(),
                                  owner.scalar_type());
}

inline Tensor transposed(const Tensor& tensor) { return torch::stable::transpose(tensor, 0, 1); }

// out = a @ b
inline void multiply(const Tensor& a, const Tensor& b, Tensor& out) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(a), from(b), from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // release the returned handle
}

// out = a @ weight.T (+ bias)
inline void linear(const Tensor& a, const Tensor& weight, const std::optional<Tensor>& bias,
                   Tensor& out) {
  using torch::stable::detail::from;
  std::array<StableIValue, 4> stack{from(a), from(weight), from(bias), from(out)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::linear", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);
}

// Splits [0, count) over torch's threads in pieces worth starting a thread for, where an item
// touches `cost_per_item` elements.
template <class F>
void parallel(int64_t count, int64_t cost_per_item, const F& function) {
  constexpr int64_t work_per_thread = 16384;
  const int64_t grain = work_per_thread / (cost_per_item > 0 ? cost_per_item : 1);
  torch::stable::parallel_for(0, count, grain > 1 ? grain : 1, function);
}

// Splits [0, count) over torch's threads in pieces of much the same size, in whole blocks and at
// most about `most`, as many for each thread: calls function(begin, end, size) for runs of pieces.
template <class F>
void parallel_pieces(int64_t count, int64_t most, int64_t block, const F& function) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t pieces =
      std::max<int64_t>((count + threads * most - 1) / (threads * most), 1) * threads;
  const int64_t size = ((count + pieces - 1) / pieces + block - 1) / block * block;
  torch::stable::parallel_for(0, (count + size - 1) / size, 1, [&](int64_t begin, int64_t end) {
    function(begin * size, std::min(end * size, count), size);
  });
}

}  // namespace accel_rt
