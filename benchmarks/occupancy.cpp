// Theoretical occupancy by NVIDIA's own header, for devices that need not be here.
#include <cuda_occupancy.h>

// Resident warps of a kernel on one multiprocessor, and the most it can hold; -1 on error.
extern "C" int resident_warps(int major, int minor, int block_threads, int registers,
                              int shared_bytes, int* most) {
  // Limits per multiprocessor: CUDA C++ Programming Guide, compute capabilities
  const int sm = major * 10 + minor;
  const bool large = sm == 80 || sm == 90 || sm == 100;
  cudaOccDeviceProp device;
  device.computeMajor = major;
  device.computeMinor = minor;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = sm == 75 ? 1024 : large ? 2048 : 1536;
  device.regsPerBlock = device.regsPerMultiprocessor = 64 << 10;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 << 10;
  device.sharedMemPerMultiprocessor = (sm == 75                ? 64
                                       : sm == 80              ? 164
                                       : sm == 90 || sm == 100 ? 228
                                                               : 100)
                                      << 10;
  device.reservedSharedMemPerBlock = major >= 8 ? 1 << 10 : 0;
  device.sharedMemPerBlockOptin =
      device.sharedMemPerMultiprocessor - device.reservedSharedMemPerBlock;
  device.numSms = 1;

  cudaOccFuncAttributes kernel;
  kernel.maxThreadsPerBlock = 1024;
  kernel.numRegs = registers;
  kernel.sharedSizeBytes = size_t(shared_bytes);
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_DEFAULT;
  kernel.maxDynamicSharedSizeBytes = 48 << 10;

  const cudaOccDeviceState state;
  cudaOccResult result;
  *most = device.maxThreadsPerMultiprocessor / 32;
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, block_threads,
                                              0) != CUDA_OCC_SUCCESS)
    return -1;
  return result.activeBlocksPerMultiprocessor * block_threads / 32;
}
