// CUDA C++ on one thread of the host: the threads of a block are coroutines, which change at barriers and shuffles in
// ascending or descending order. Blocks run one after another. A kernel whose result depends on the order has a race.
// Threads of kernels that have no barriers are called one after another.
#pragma once
#include <csetjmp>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <math.h>
#include <memory>
#include <mutex>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct Index {
  int x;
};
static Index threadIdx, blockIdx;

constexpr size_t STACK = 64 * 1024;

struct Barrier {
  int arrived = 0, passed = 0;
};

struct Coroutine {
  jmp_buf state;
  std::unique_ptr<char[]> stack{new char[STACK]};
  Barrier* barrier = nullptr;
  int passed = 0, size = 0, shuffles = 0;
  bool ended = false;
};

static std::vector<Coroutine> coroutines;
static std::vector<Barrier> warps;
static std::vector<double> lanes[2];
static Barrier block;
static jmp_buf scheduler;
static ucontext_t ucontext_of_scheduler, ucontext_of_coroutine;
static std::function<void()> body;

static bool apart = false;

inline void sincospi(double x, double* sine, double* cosine) {
  const double quarters = nearbyint(2 * x), angle = 3.14159265358979323846 * (x - quarters / 2);
  const double s = sin(angle), c = cos(angle), turned[] = {s, c, -s, -c, s};
  const int quarter = int((long long)(quarters) & 3);
  *sine = turned[quarter], *cosine = turned[quarter + 1];
}

static void wait_at(Barrier& barrier, int size) {
  if (apart) abort();
  Coroutine& self = coroutines[threadIdx.x];
  self.barrier = &barrier, self.passed = barrier.passed;
  if (++barrier.arrived == size) barrier.arrived = 0, ++barrier.passed;
  if (!_setjmp(self.state)) _longjmp(scheduler, 1);
}

static void __syncthreads() { wait_at(block, int(coroutines.size())); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int distance) {
  // Two buffers in turn: all lanes have read one before any writes it again.
  auto& buffer = lanes[coroutines[threadIdx.x].shuffles++ % 2];
  buffer[threadIdx.x] = value;
  wait_at(warps[threadIdx.x / 32], 32);
  return T(buffer[threadIdx.x ^ distance]);
}

static void enter() {
  body();
  coroutines[threadIdx.x].ended = true;
  _longjmp(scheduler, 1);
}

static void run_until_barrier(int thread, bool begin) {
  threadIdx.x = thread;
  if (_setjmp(scheduler)) return;
  if (!begin) _longjmp(coroutines[thread].state, 1);
  getcontext(&ucontext_of_coroutine);
  ucontext_of_coroutine.uc_stack.ss_sp = coroutines[thread].stack.get();
  ucontext_of_coroutine.uc_stack.ss_size = STACK;
  ucontext_of_coroutine.uc_link = nullptr;
  makecontext(&ucontext_of_coroutine, enter, 0);
  swapcontext(&ucontext_of_scheduler, &ucontext_of_coroutine);
}

// 0, or 1 if threads of a block wait at barriers that not all of them reach.
static int run_blocks(int blocks, int threads, bool descending, bool has_barriers, std::function<void()> kernel) {
  static std::mutex one_at_a_time;
  std::lock_guard<std::mutex> lock(one_at_a_time);
  apart = !has_barriers;
  if (apart) {
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
      for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel();
    return 0;
  }
  if (int(coroutines.size()) != threads) {
    coroutines.clear();
    coroutines.resize(threads);
  }
  warps.assign((threads + 31) / 32, {});
  for (auto& buffer : lanes) buffer.assign(threads, 0);
  block = {};
  body = kernel;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    for (auto& each : coroutines) each.ended = false, each.barrier = nullptr, each.shuffles = 0;
    bool begin = true;
    for (int left = threads; left;) {
      bool progress = false;
      for (int n = 0; n < threads; ++n) {
        const int thread = descending ? threads - 1 - n : n;
        Coroutine& each = coroutines[thread];
        if (each.ended || (each.barrier && each.barrier->passed == each.passed)) continue;
        run_until_barrier(thread, begin);
        progress = true;
        left -= each.ended;
      }
      if (!progress) return 1;
      begin = false;
    }
  }
  return 0;
}

// As cuLaunchKernel: `arguments` are addresses of the parameters of a kernel.
template <class... A, size_t... I>
int launch(void (*kernel)(A...), int blocks, int threads, bool descending, bool has_barriers, void** arguments,
           std::index_sequence<I...>) {
  return run_blocks(blocks, threads, descending, has_barriers,
                    [=] { kernel(*static_cast<std::remove_reference_t<A>*>(arguments[I])...); });
}
template <class... A>
int launch(void (*kernel)(A...), int blocks, int threads, bool descending, bool has_barriers, void** arguments) {
  return launch(kernel, blocks, threads, descending, has_barriers, arguments, std::index_sequence_for<A...>{});
}
