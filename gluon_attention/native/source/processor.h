// Instruction sets of this processor, as far as oneDNN may use them.
#pragma once

#include <string>

namespace native {

// Asks Linux for the tile registers of AMX, before oneDNN looks for them.
void allow_amx();

// Whether bfloat16 is faster than float32 here: with AMX, and on AMD's cores with AVX-512.
bool bfloat16_pays();

// "AVX2", "AVX512_CORE", "AVX512_CORE_BF16", "AVX512_CORE_AMX" ...
std::string instruction_set();

}  // namespace native
