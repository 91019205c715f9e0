// The functions of the CUDA driver that launch kernels (signatures of cuda.h), with kernels that run on the host: those of
// the file KERNEL_FILE, which WITH_BARRIERS and APART list.
#include "cuda_on_host.h"

#include KERNEL_FILE

#include <cstring>
#include <string>

using Status = int;
using Pointer = void*;
struct Kernel {
  const char* name;
  std::function<int(int, bool, void**)> run;
};
#define SYNCHRONISED(NAME) {#NAME, [](int n, bool d, void** a) { return launch(NAME, n, THREADS, d, true, a); }},
#define INDEPENDENT(NAME) {#NAME, [](int n, bool d, void** a) { return launch(NAME, n, THREADS, d, false, a); }},
static Kernel kernels[] = {WITH_BARRIERS(SYNCHRONISED) APART(INDEPENDENT)};
static int context, module;
static bool current = false;
constexpr Status SUCCESS = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, INVALID_IMAGE = 200, NOT_FOUND = 500,
                 LAUNCH_FAILED = 719;

extern "C" {
int descending = 0;

Status cuInit(unsigned flags) { return flags ? INVALID_VALUE : SUCCESS; }
Status cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal ? INVALID_VALUE : SUCCESS; }
Status cuDevicePrimaryCtxRetain(Pointer* out, int device) { return *out = &context, device ? INVALID_VALUE : SUCCESS; }
Status cuCtxSetCurrent(Pointer given) { return current = given == &context, current ? SUCCESS : INVALID_CONTEXT; }
Status cuModuleLoadData(Pointer* out, const void* image) {
  if (!current) return INVALID_CONTEXT;
  return *out = &module, std::memcmp(image, "\x7f" "ELF", 4) ? INVALID_IMAGE : SUCCESS;
}
Status cuModuleGetFunction(Pointer* function, Pointer given, const char* name) {
  for (auto& kernel : kernels)
    if (given == &module && !std::strcmp(kernel.name, name)) return *function = &kernel, SUCCESS;
  return NOT_FOUND;
}
Status cuLaunchKernel(Pointer function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared_bytes, Pointer stream, void** parameters,
                      void** extra) {
  const bool shape = block_x == THREADS && block_y == 1 && block_z == 1 && grid_y == 1 && grid_z == 1;
  if (!current || !grid_x || !shape || shared_bytes || stream || extra) return INVALID_VALUE;
  return static_cast<Kernel*>(function)->run(grid_x, descending, parameters) ? LAUNCH_FAILED : SUCCESS;
}
Status cuGetErrorString(Status status, const char** words) {
  static std::string text;
  text = "pretended driver, status " + std::to_string(status);
  return *words = text.c_str(), SUCCESS;
}
}
