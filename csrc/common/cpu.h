// Building blocks of the CPU kernels. A kernel file is compiled once per SIMD level with
// ACCEL_RT_SIMD naming the level's namespace; its plain loops are left to the compiler's
// vectoriser. Nothing here may have external linkage outside that namespace, or the linker would be
// free to give a machine without AVX-512 the AVX-512 copy.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "bilinear.h"
#include "dtype.h"

namespace accel_rt {
namespace {

struct BFloat16 {
  uint16_t bits;
};

// Gradients, offsets and sums of float and bfloat16 are kept in float, those of double in double.
template <class T>
struct AccumulateType {
  using type = float;
};
template <>
struct AccumulateType<double> {
  using type = double;
};
template <class T>
using accumulate_t = typename AccumulateType<T>::type;

inline float load(const float& value) { return value; }
inline double load(const double& value) { return value; }
inline float load(const BFloat16& value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void store(float& target, float value) { target = value; }
inline void store(double& target, double value) { target = value; }
// Rounds to nearest even. NaN stays NaN without a case of its own: the carry could only overflow
// one whose lower bits are set, and those that processors make or bfloat16 widens to have none.
inline void store(BFloat16& target, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  target.bits = uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// A vector of A of the level's natural width; operators apply lane by lane.
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
template <class A, int bytes = vector_bytes>
struct Vector {
  typedef A type __attribute__((vector_size(bytes), aligned(alignof(A)), may_alias));
  static constexpr int lanes = bytes / sizeof(A);
};

// A vector of elements, widened to what is computed in. For wide vectors the compiler's own way is
// a detour.
template <class A>
inline typename Vector<A>::type load_vector(const A* from) {
  return *reinterpret_cast<const typename Vector<A>::type*>(from);
}
inline Vector<float>::type load_vector(const BFloat16* from) {
  using Floats = Vector<float>::type;
#if defined(__AVX512F__)
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return Floats(_mm512_maskz_slli_epi32(-1, _mm512_maskz_cvtepu16_epi32(-1, bits), 16));
#elif defined(__AVX2__)
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return Floats(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
#else
  Vector<uint16_t, vector_bytes / 2>::type bits;
  std::memcpy(&bits, from, sizeof bits);
  return Floats(__builtin_convertvector(bits, Vector<uint32_t>::type) << 16);
#endif
}

// Swaps rows and columns of a square: quadrants change places, then quadrants of quadrants, and so
// on.
template <int lanes, class Row = typename Vector<uint32_t, 4 * lanes>::type>
inline void transpose(Row (&rows)[lanes]) {
  for (int span = lanes / 2; span > 0; span /= 2) {
    Row upper, lower;
    for (int lane = 0; lane < lanes; ++lane) {
      upper[lane] = lane & span ? lanes + lane - span : lane;
      lower[lane] = lane & span ? lanes + lane : lane + span;
    }
    for (int i = 0; i < lanes; ++i) {
      if (i & span) continue;
      const Row above = rows[i], below = rows[i + span];
      rows[i] = __builtin_shuffle(above, below, upper);
      rows[i + span] = __builtin_shuffle(above, below, lower);
    }
  }
}

// Lane i of the result is the sum over rows[i]: as in transpose(), but what would change places is
// added.
template <class A, int lanes = Vector<A>::lanes, int span = lanes / 2>
inline typename Vector<A>::type lane_sums(typename Vector<A>::type (&rows)[lanes]) {
  using Lane = std::conditional_t<sizeof(A) == 8, uint64_t, uint32_t>;
  typename Vector<Lane>::type upper, lower;
  for (int lane = 0; lane < lanes; ++lane) {
    upper[lane] = lane & span ? lanes + lane - span : lane;
    lower[lane] = lane & span ? lanes + lane : lane + span;
  }
  for (int i = 0; i < span; ++i)
    rows[i] = __builtin_shuffle(rows[i], rows[i + span], upper) +
              __builtin_shuffle(rows[i], rows[i + span], lower);
  if constexpr (span > 1) return lane_sums<A, lanes, span / 2>(rows);
  return rows[0];
}

// out[i] = sum of the four taps, each weighted
template <class O, class T, class A>
inline void blend(O* __restrict out, const T* __restrict image, const Corners<A>& at,
                  int64_t count) {
  const T* __restrict t0 = image + at.offset[0];
  const T* __restrict t1 = image + at.offset[1];
  const T* __restrict t2 = image + at.offset[2];
  const T* __restrict t3 = image + at.offset[3];
  const A w0 = at.weight[0], w1 = at.weight[1], w2 = at.weight[2], w3 = at.weight[3];
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    store(out[i], w0 * load(t0[i]) + w1 * load(t1[i]) + w2 * load(t2[i]) + w3 * load(t3[i]));
}

// Two neighbours of bfloat16 lie in one word: each half becomes floats by itself, without being
// moved apart, and both go back into it.
inline void blend_pairs(BFloat16* __restrict out, const BFloat16* __restrict image,
                        const Corners<float>& at, int64_t count) {
  using Bits = Vector<uint32_t>::type;
  using Floats = Vector<float>::type;
  const auto tap = [&](int k, int64_t i) {
    return *reinterpret_cast<const Bits*>(image + at.offset[k] + i);
  };
  const auto low = [](const Bits& pair) { return Floats(pair << 16); };
  const auto high = [](const Bits& pair) { return Floats(pair & 0xffff0000u); };
  const auto rounded = [&](const Floats& sum) {
    const Bits bits = Bits(sum);
    return bits + 0x7fffu + ((bits >> 16) & 1u);  // see store()
  };
  for (int64_t i = 0; i < count; i += 2 * Vector<float>::lanes) {
    Bits pair = tap(0, i);
    Floats even = at.weight[0] * low(pair), odd = at.weight[0] * high(pair);
    for (int k = 1; k < 4; ++k) {
      pair = tap(k, i);
      even += at.weight[k] * low(pair);
      odd += at.weight[k] * high(pair);
    }
    *reinterpret_cast<Bits*>(out + i) = (rounded(even) >> 16) | (rounded(odd) & 0xffff0000u);
  }
}

inline void blend(BFloat16* __restrict out, const BFloat16* __restrict image,
                  const Corners<float>& at, int64_t count) {
  const int64_t paired = count - count % (2 * Vector<float>::lanes);
  blend_pairs(out, image, at, paired);
  blend<BFloat16, BFloat16, float>(out + paired, image + paired, at, count - paired);
}

// Copies `bytes` past the caches. Worth it for results too large to be found in a cache later:
// ordinary stores first fetch what they overwrite.
inline void stream_copy(void* to, const void* from, int64_t bytes) {
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
#if defined(__AVX2__)
  constexpr int64_t step = 64;
  const int64_t ragged = -reinterpret_cast<intptr_t>(target) & (step - 1);
  const int64_t head = ragged < bytes ? ragged : bytes;
  std::memcpy(target, source, head);
  for (bytes -= head, target += head, source += head; bytes >= step; bytes -= step) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target), _mm512_loadu_si512(source));
#else
    for (int part = 0; part < step; part += 32)
      _mm256_stream_si256(reinterpret_cast<__m256i*>(target + part),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + part)));
#endif
    target += step, source += step;
  }
#endif
  std::memcpy(target, source, bytes);
}

// Makes what was streamed visible to other threads.
inline void stream_fence() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// dots[k] += sum over i of gradient[i] * tap_k[i]
template <class T, class A>
inline void dot_taps(A dots[4], const T* __restrict gradient, const T* __restrict image,
                     const Corners<A>& at, int64_t count) {
  const T* __restrict t0 = image + at.offset[0];
  const T* __restrict t1 = image + at.offset[1];
  const T* __restrict t2 = image + at.offset[2];
  const T* __restrict t3 = image + at.offset[3];
  A d0 = 0, d1 = 0, d2 = 0, d3 = 0;
#pragma omp simd reduction(+ : d0, d1, d2, d3)
  for (int64_t i = 0; i < count; ++i) {
    const A g = load(gradient[i]);
    d0 += g * load(t0[i]);
    d1 += g * load(t1[i]);
    d2 += g * load(t2[i]);
    d3 += g * load(t3[i]);
  }
  dots[0] += d0, dots[1] += d1, dots[2] += d2, dots[3] += d3;
}

// image[tap_k + i] += weight_k * gradient[i]; one tap after the other, since taps may coincide
template <class T, class A>
inline void scatter(A* __restrict image, const Corners<A>& at, const T* __restrict gradient,
                    int64_t count) {
  for (int k = 0; k < 4; ++k) {
    const A w = at.weight[k];
    if (w == A(0)) continue;
    A* __restrict target = image + at.offset[k];
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) target[i] += w * load(gradient[i]);
  }
}

// Calls function(T{}) with the element type of `dtype`. Half precision is not among them: few
// processors compute in it, so the ops convert it to float first.
template <class F>
inline void for_dtype(DType dtype, F&& function) {
  switch (dtype) {
    case DType::f64:
      return function(double{});
    case DType::bf16:
      return function(BFloat16{});
    default:
      return function(float{});
  }
}

}  // namespace
}  // namespace accel_rt
