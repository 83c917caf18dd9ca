#include "simd.h"

#include <cstdlib>
#include <cstring>

namespace accel_rt {
namespace {

Simd detect() {
  Simd level = Simd::baseline;
#ifdef ACCEL_RT_X86
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level = Simd::avx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    level = Simd::avx512;
#endif
  const char* wanted = std::getenv("ACCEL_RT_SIMD");
  if (wanted == nullptr) return level;
  if (std::strcmp(wanted, "baseline") == 0) return Simd::baseline;
  if (std::strcmp(wanted, "avx2") == 0 && level == Simd::avx512) return Simd::avx2;
  return level;
}

}  // namespace

Simd simd_level() {
  static const Simd level = detect();
  return level;
}

}  // namespace accel_rt

// Read through ctypes by accel_rt.ops.extension_status().
extern "C" {

__attribute__((visibility("default"))) const char* accel_rt_simd() {
  switch (accel_rt::simd_level()) {
    case accel_rt::Simd::avx512:
      return "avx512";
    case accel_rt::Simd::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

__attribute__((visibility("default"))) int accel_rt_cuda_built() {
#ifdef ACCEL_RT_CUDA
  return 1;
#else
  return 0;
#endif
}
}
