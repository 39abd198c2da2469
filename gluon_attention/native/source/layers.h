// The forward and backward steps of each instruction of a program.
#pragma once

#include <memory>

#include "plan.h"

namespace native {

std::unique_ptr<Layer> make_layer(Plan& plan, const Instruction& instruction);

using Maker = std::unique_ptr<Layer> (*)(Plan&, const Instruction&);
std::unique_ptr<Layer> make_convolution(Plan&, const Instruction&);
std::unique_ptr<Layer> make_winograd(Plan&, const Instruction&);  // null where it does not pay
std::unique_ptr<Layer> make_norm(Plan&, const Instruction&);
std::unique_ptr<Layer> make_gate(Plan&, const Instruction&);
std::unique_ptr<Layer> make_resize(Plan&, const Instruction&);

// The gradient of the input of a ReLU whose output is y.
Place before_relu(Plan& plan, int y);

// gradient = value, or gradient + value where `adds`
inline void give_gradient(float* gradient, const float* value, std::int64_t count, bool adds) {
  for (std::int64_t i = 0; i < count; ++i) gradient[i] = adds ? gradient[i] + value[i] : value[i];
}

}  // namespace native
