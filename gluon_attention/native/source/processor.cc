#include "processor.h"

#include <dnnl.hpp>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels.h"
#include "tiles.h"

namespace native {

const Kernels* kernels_base();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();
const Tiles* tiles_base();
const Tiles* tiles_avx2();
const Tiles* tiles_avx512();

namespace {

bool has(dnnl_cpu_isa_t set) {
  int all = static_cast<int>(dnnl_get_effective_cpu_isa());
  return (all & static_cast<int>(set)) == static_cast<int>(set);
}

// The code compiled for the best of three instruction sets.
template <class T>
const T* best(const T* (*base)(), const T* (*avx2)(), const T* (*avx512)()) {
  return has(dnnl_cpu_isa_avx512_core) ? avx512() : has(dnnl_cpu_isa_avx2) ? avx2() : base();
}

}  // namespace

const Kernels& kernels(bool bfloat16) {
  static const Kernels* all = best(kernels_base, kernels_avx2, kernels_avx512);
  return all[bfloat16 ? 1 : 0];
}

const Tiles& tiles() {
  static const Tiles* all = best(tiles_base, tiles_avx2, tiles_avx512);
  return *all;
}

void allow_amx() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM; refused without AMX
  syscall(SYS_arch_prctl, request, tile_data);
#endif
}

// Intel's cores without AMX convert bfloat16 and multiply at half the rate of AMD's, which
// multiply twice as many numbers of bfloat16 as of float32 in the same time.
bool bfloat16_pays() {
  __builtin_cpu_init();
  bool amd = __builtin_cpu_is("amd") && has(dnnl_cpu_isa_avx512_core_bf16);
  return amd || has(dnnl_cpu_isa_avx512_core_amx);
}

std::string instruction_set() {
  const std::pair<dnnl_cpu_isa_t, const char*> sets[] = {
      {dnnl_cpu_isa_avx512_core_amx_fp16, "AVX512_CORE_AMX_FP16"},
      {dnnl_cpu_isa_avx512_core_amx, "AVX512_CORE_AMX"},
      {dnnl_cpu_isa_avx512_core_fp16, "AVX512_CORE_FP16"},
      {dnnl_cpu_isa_avx512_core_bf16, "AVX512_CORE_BF16"},
      {dnnl_cpu_isa_avx512_core_vnni, "AVX512_CORE_VNNI"},
      {dnnl_cpu_isa_avx512_core, "AVX512_CORE"},
      {dnnl_cpu_isa_avx2, "AVX2"},
      {dnnl_cpu_isa_avx, "AVX"}};
  for (const auto& set : sets)
    if (has(set.first)) return set.second;
  return "SSE41";
}

}  // namespace native
