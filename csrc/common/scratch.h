// A kernel's working memory: the arrays of one thread, in one allocation that is checked.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace accel_rt {
namespace {

// An array of `count` elements that `pointer` will point to
template <class T>
struct ScratchArray {
  T*& pointer;
  int64_t count;
};

template <class T>
ScratchArray<T> array(T*& pointer, int64_t count) {
  return {pointer, count};
}

// Allocates arrays, each on a cache line of its own and uninitialised, and frees them:
//   const Scratch memory(array(sums, pixels * outputs), array(columns, pixels * depth));
// Throws std::bad_alloc, which torch's threads hand on to the caller.
class Scratch {
 public:
  template <class... T>
  explicit Scratch(ScratchArray<T>... arrays) {
    int64_t total = line;
    (add_bytes<T>(total, arrays.count), ...);
    memory_ = std::aligned_alloc(line, size_t(total));
    if (memory_ == nullptr) throw std::bad_alloc();
    char* next = static_cast<char*>(memory_);
    (take(next, arrays), ...);
  }
  ~Scratch() { std::free(memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

 private:
  static constexpr int64_t line = 64;

  // Adds the bytes of `count` elements in whole lines.
  template <class T>
  static void add_bytes(int64_t& total, int64_t count) {
    int64_t bytes;
    if (count < 0 || __builtin_mul_overflow(count, int64_t(sizeof(T)), &bytes) ||
        __builtin_add_overflow(bytes, line - 1, &bytes) ||
        __builtin_add_overflow(total, bytes / line * line, &total))
      throw std::bad_alloc();
  }

  template <class T>
  static void take(char*& next, ScratchArray<T> array) {
    array.pointer = reinterpret_cast<T*>(next);
    int64_t bytes = 0;
    add_bytes<T>(bytes, array.count);
    next += bytes;
  }

  void* memory_;
};

}  // namespace
}  // namespace accel_rt
