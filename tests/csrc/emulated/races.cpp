// The compiler, told to look for data races between threads (-fsanitize=thread), calls these before
// memory accesses. Instead of its run-time library, the emulator listens.
#include "emulator.h"

#define NOTE(name, bytes, is_write) \
  void name(void* address) { emulator::note_shared(address, bytes, is_write); }
#define NOTE_SIZE(bytes)                           \
  NOTE(__tsan_read##bytes, bytes, false)           \
  NOTE(__tsan_write##bytes, bytes, true)           \
  NOTE(__tsan_unaligned_read##bytes, bytes, false) \
  NOTE(__tsan_unaligned_write##bytes, bytes, true)

extern "C" {
NOTE_SIZE(1)
NOTE_SIZE(2)
NOTE_SIZE(4)
NOTE_SIZE(8)
NOTE_SIZE(16)
void __tsan_read_range(void* address, size_t bytes) {
  emulator::note_shared(address, bytes, false);
}
void __tsan_write_range(void* address, size_t bytes) {
  emulator::note_shared(address, bytes, true);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
