#include "emulator.h"

#include <link.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "include/cuda_runtime.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

namespace emulator {
namespace {

constexpr size_t stack_bytes = 64 << 10;
constexpr size_t shared_limit = 48 << 10;
constexpr size_t warp = 32;
constexpr int nobody = -1, several = -2;

enum class State { fresh, ready, at_block_barrier, at_warp_barrier, finished };

struct Fibre {
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  bool begun = false;
  ucontext_t entry;  // where it begins
  jmp_buf position;  // and where it goes on
};

struct Thread {
  dim3 index;
  State state;
  Fibre* fibre;                 // that it runs on, once it has begun
  float shown[2][most_values];  // by this exchange and the one before
  int exchanges;
};

// Who touched a byte of shared memory, and in which interval between barriers
struct Shadow {
  uint64_t interval;
  int writer, reader;
};

// Memory that is shared by a block, with a shadow of each byte
struct Region {
  const char* begin = nullptr;
  std::vector<Shadow> shadow;

  void place(const char* at, size_t bytes) {
    begin = at;
    if (shadow.size() != bytes) shadow.assign(bytes, Shadow{0, nobody, nobody});
  }
  Shadow* find(const char* byte) {
    return byte >= begin && byte < begin + shadow.size() ? &shadow[size_t(byte - begin)] : nullptr;
  }
};

struct Machine {
  std::mt19937_64 random{0};
  cudaError_t error = cudaSuccess;
  const char* fault = nullptr;
  jmp_buf scheduler;
  std::vector<std::unique_ptr<Fibre>> fibres;
  std::vector<Fibre*> idle;
  // of the running block:
  const std::function<void()>* kernel = nullptr;
  dim3 grid_size, block_size, block;
  std::vector<char> shared;
  std::vector<Thread> threads;
  std::vector<size_t> order;
  size_t cursor = 0;  // position in order of the thread that runs
  bool is_running = false;
  uint64_t interval = 0;    // between barriers of all blocks so far
  Region statics, dynamic;  // this library's globals, of which kernels touch __shared__ alone
};

// Not a global itself: what kernels touch among the library's globals is shared memory.
Machine& machine = *new Machine;

Thread& running() { return machine.threads[machine.order[machine.cursor]]; }

// Switches are jumps, since swapcontext costs two system calls.
__attribute__((noinline)) void leave(Fibre& fibre) {
  if (_setjmp(fibre.position) == 0) _longjmp(machine.scheduler, 1);
}

__attribute__((noinline)) void enter(Fibre& fibre) {
  if (_setjmp(machine.scheduler) != 0) return;
  if (fibre.begun) _longjmp(fibre.position, 1);
  fibre.begun = true;
  setcontext(&fibre.entry);
}

Shadow* shadow_of(const char* byte) {
  Shadow* shadow = machine.statics.find(byte);
  return shadow != nullptr ? shadow : machine.dynamic.find(byte);
}

// Finds the writable segment of the library that holds this function.
int find_statics(dl_phdr_info* info, size_t, void*) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & segment = info->dlpi_phdr[i];
    const char* begin = reinterpret_cast<const char*>(info->dlpi_addr + segment.p_vaddr);
    static char mark;
    const char* mine = &mark;
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) == 0) continue;
    if (mine < begin || mine >= begin + segment.p_memsz) continue;
    machine.statics.place(begin, segment.p_memsz);
    return 1;
  }
  return 0;
}

void wait(State state) {
  running().state = state;
  leave(*running().fibre);
}

// A fibre runs one new thread after the other, as long as they do not wait: most kernels have no
// barriers and need no switch at all.
void run_fibre() {
  for (;;) {
    Fibre* fibre = running().fibre;
    (*machine.kernel)();
    running().state = State::finished;
    const size_t next = machine.cursor + 1;
    if (next < machine.order.size() && machine.threads[machine.order[next]].state == State::fresh) {
      machine.cursor = next;
      running().fibre = fibre;
    } else {
      machine.idle.push_back(fibre);
      leave(*fibre);
    }
  }
}

Fibre* idle_fibre() {
  if (machine.idle.empty()) {
    machine.fibres.emplace_back(new Fibre);
    Fibre& fibre = *machine.fibres.back();
    getcontext(&fibre.entry);
    fibre.entry.uc_stack.ss_sp = fibre.stack.get();
    fibre.entry.uc_stack.ss_size = stack_bytes;
    fibre.entry.uc_link = nullptr;
    makecontext(&fibre.entry, run_fibre, 0);
    return &fibre;
  }
  Fibre* fibre = machine.idle.back();
  machine.idle.pop_back();
  return fibre;
}

// Every thread that can run does, until it waits or ends.
void run_threads() {
  std::shuffle(machine.order.begin(), machine.order.end(), machine.random);
  for (machine.cursor = 0; machine.cursor < machine.order.size(); ++machine.cursor) {
    if (running().state == State::fresh)
      running().fibre = idle_fibre();
    else if (running().state != State::ready)
      continue;
    enter(*running().fibre);
  }
}

// Lets the waiting threads of [begin, end) go on if all of them that still run wait in `state`.
bool release(size_t begin, size_t end, State state) {
  size_t waiting = 0, finished = 0;
  for (size_t i = begin; i < end; ++i) {
    waiting += machine.threads[i].state == state;
    finished += machine.threads[i].state == State::finished;
  }
  if (waiting == 0 || waiting + finished < end - begin) return false;
  if (finished > 0) machine.fault = "a thread left before a barrier that others wait at";
  for (size_t i = begin; i < end; ++i)
    if (machine.threads[i].state == state) machine.threads[i].state = State::ready;
  return true;
}

void run_block() {
  ++machine.interval;
  const size_t count = machine.threads.size();
  for (size_t i = 0; i < count; ++i) {
    const unsigned across = machine.block_size.x, down = machine.block_size.y;
    const dim3 index(i % across, i / across % down, i / across / down);
    machine.threads[i] = Thread{index, State::fresh, nullptr, {}, 0};
  }
  while (machine.fault == nullptr) {
    run_threads();
    bool progress = release(0, count, State::at_block_barrier);
    machine.interval += progress;
    for (size_t begin = 0; begin < count; begin += warp)
      progress |= release(begin, std::min(begin + warp, count), State::at_warp_barrier);
    if (progress) continue;
    for (const Thread& thread : machine.threads)
      if (thread.state != State::finished) machine.fault = "threads wait at different barriers";
    return;
  }
}

}  // namespace

const dim3& current_thread() { return running().index; }
const dim3& current_block() { return machine.block; }
const dim3& block_size() { return machine.block_size; }
const dim3& grid_size() { return machine.grid_size; }
void* dynamic_shared() { return machine.shared.data(); }
void synchronize_block() { wait(State::at_block_barrier); }

int current_lane() { return int(machine.order[machine.cursor] % warp); }

void show(const float* values, int count) {
  // Two places take turns, so that a fast lane cannot overwrite what a slow one has yet to read.
  std::copy_n(values, count, running().shown[++running().exchanges % 2]);
  wait(State::at_warp_barrier);
}

const float* shown(int lane) {
  const size_t partner = machine.order[machine.cursor] / warp * warp + size_t(lane);
  if (partner >= machine.threads.size()) {
    machine.fault = "a shuffle reads a lane that is not there";
    return running().shown[0];
  }
  return machine.threads[partner].shown[running().exchanges % 2];
}

void note_shared(const void* address, size_t bytes, bool is_write) {
  const char* byte = static_cast<const char*>(address);
  Shadow* shadow = machine.is_running ? shadow_of(byte) : nullptr;
  if (shadow == nullptr) return;
  const int thread = int(machine.order[machine.cursor]);
  for (size_t i = 0; i < bytes; ++i) {
    Shadow& touched = shadow[i];
    if (touched.interval != machine.interval) touched = {machine.interval, nobody, nobody};
    const bool others_wrote = touched.writer != nobody && touched.writer != thread;
    const bool others_read = touched.reader != nobody && touched.reader != thread;
    if (others_wrote || (is_write && others_read))
      machine.fault = "two threads race for shared memory";
    if (is_write)
      touched.writer = thread;
    else
      touched.reader = touched.reader == nobody || touched.reader == thread ? thread : several;
  }
}

void launch(const dim3& grid, const dim3& block, size_t shared_bytes,
            const std::function<void()>& kernel) {
  const size_t threads = size_t(block.x) * block.y * block.z;
  const size_t blocks = size_t(grid.x) * grid.y * grid.z;
  if (threads == 0 || threads > 1024 || blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535 || shared_bytes > shared_limit) {
    machine.error = cudaErrorInvalidConfiguration;
    return;
  }
  if (machine.statics.begin == nullptr) dl_iterate_phdr(find_statics, nullptr);
  machine.kernel = &kernel;
  machine.fault = nullptr;
  machine.grid_size = grid;
  machine.block_size = block;
  machine.threads.resize(threads);
  machine.order.resize(threads);
  for (size_t i = 0; i < threads; ++i) machine.order[i] = i;
  std::vector<size_t> block_order(blocks);
  for (size_t i = 0; i < blocks; ++i) block_order[i] = i;
  std::shuffle(block_order.begin(), block_order.end(), machine.random);
  for (size_t i : block_order) {
    machine.block = dim3(i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y);
    machine.shared.assign(shared_bytes, char(0xff));  // NaN, so that reading before writing shows
    machine.dynamic.place(machine.shared.data(), shared_bytes);
    machine.is_running = true;
    run_block();
    machine.is_running = false;
    if (machine.fault == nullptr) continue;
    machine.idle.clear();  // some fibres are stuck in the kernel
    machine.fibres.clear();
    throw std::runtime_error(machine.fault);
  }
}

}  // namespace emulator

cudaError_t cudaGetLastError() {
  const cudaError_t error = emulator::machine.error;
  emulator::machine.error = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidConfiguration ? "invalid configuration argument"
                                                : "invalid argument";
}

extern "C" void emulator_seed(uint64_t seed) { emulator::machine.random.seed(seed); }
