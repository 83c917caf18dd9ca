// Run-time choice among the SIMD variants of a CPU kernel.
#pragma once

namespace accel_rt {

enum class Simd { baseline, avx2, avx512 };

// The best level this processor has, or a lower one named by the environment variable
// ACCEL_RT_SIMD (baseline, avx2 or avx512)
Simd simd_level();

// Whether the processor multiplies vectors of bfloat16, and the level in use is the best
bool has_avx512_bf16();

// Whether the processor multiplies tiles of bfloat16 (AMX), the system lets it, and the level in
// use is the best
bool has_amx();

#ifdef ACCEL_RT_X86

#define ACCEL_RT_DECLARE_KERNEL(name, ...) \
  namespace baseline {                     \
  void name(__VA_ARGS__);                  \
  }                                        \
  namespace avx2 {                         \
  void name(__VA_ARGS__);                  \
  }                                        \
  namespace avx512 {                       \
  void name(__VA_ARGS__);                  \
  }

#define ACCEL_RT_KERNEL(name)                                           \
  (::accel_rt::simd_level() == ::accel_rt::Simd::avx512 ? &avx512::name \
   : ::accel_rt::simd_level() == ::accel_rt::Simd::avx2 ? &avx2::name   \
                                                        : &baseline::name)

#else

#define ACCEL_RT_DECLARE_KERNEL(name, ...) \
  namespace baseline {                     \
  void name(__VA_ARGS__);                  \
  }

#define ACCEL_RT_KERNEL(name) (&baseline::name)

#endif

}  // namespace accel_rt
