#include "simd.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(ACCEL_RT_X86) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace accel_rt {
namespace {

constexpr const char* level_names[] = {"baseline", "avx2", "avx512"};

Simd detect() {
#ifdef ACCEL_RT_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return Simd::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Simd::avx2;
#endif
  return Simd::baseline;
}

// The level of that name, or the best there is if the processor lacks it or nobody knows it
Simd level_named(const char* name) {
  const Simd best = detect();
  for (int level = 0; name != nullptr && level <= int(best); ++level)
    if (std::strcmp(name, level_names[level]) == 0) return Simd(level);
  return best;
}

std::atomic<Simd>& chosen() {
  static std::atomic<Simd> level{level_named(std::getenv("ACCEL_RT_SIMD"))};
  return level;
}

// Asks the system for the tiles' registers, which it hands out on request only.
bool request_amx() {
#if defined(ACCEL_RT_X86) && defined(__linux__)
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  constexpr long request_permission = 0x1023, tile_data = 18;
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & amx_bf16) && (d & amx_tile) &&
         __builtin_cpu_supports("avx512bf16") &&
         syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

}  // namespace

bool has_avx512_bf16() {
#ifdef ACCEL_RT_X86
  static const bool present = __builtin_cpu_supports("avx512bf16");
  return present && simd_level() == Simd::avx512;
#else
  return false;
#endif
}

bool has_amx() {
  static const bool granted = request_amx();
  return granted && simd_level() == Simd::avx512;
}

Simd simd_level() { return chosen().load(std::memory_order_relaxed); }

}  // namespace accel_rt

// Called from Python through ctypes.
extern "C" {

__attribute__((visibility("default"))) const char* accel_rt_simd() {
  return accel_rt::level_names[int(accel_rt::simd_level())];
}

// For tests of every variant in one process: the level now in use, `name` if the processor has it.
__attribute__((visibility("default"))) const char* accel_rt_set_simd(const char* name) {
  accel_rt::chosen() = accel_rt::level_named(name);
  return accel_rt_simd();
}

__attribute__((visibility("default"))) int accel_rt_cuda_built() {
#ifdef ACCEL_RT_CUDA
  return 1;
#else
  return 0;
#endif
}
}
