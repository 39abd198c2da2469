// The forward pass of a network as text from Python, one instruction per line.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace native {

// A mistake of the caller, in one line.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// `convolution x=1 y=2 weight=4 stride=2`: an operator and its arguments.
class Instruction {
 public:
  explicit Instruction(const std::string& line);
  const std::string& name() const { return name_; }
  bool has(const std::string& key) const { return arguments_.count(key) > 0; }
  int number(const std::string& key) const;
  int number(const std::string& key, int otherwise) const;
  float real(const std::string& key, float otherwise) const;
  std::string word(const std::string& key, const std::string& otherwise) const;

 private:
  std::string name_;
  std::map<std::string, std::string> arguments_;
};

using Dims = std::vector<std::int64_t>;

struct Constant {
  Dims dims;
  std::vector<float> values;
};

struct Program {
  int inputs = 0;   // arrays of the operator: images first, then parameters
  int outputs = 0;  // arrays that it returns
  bool bfloat16 = false;
  bool input_gradient = false;  // whether images get a gradient
  bool inference = false;       // no backward pass, and images are the only input
  std::vector<Instruction> instructions;
  std::vector<Constant> constants;  // of inference, numbered after the images

  explicit Program(const std::string& text);
};

// Programs by number. Those that train are kept, and one for each text.
int add_program(const std::string& text);
void add_constant(int number, Constant constant);  // before the program runs
void forget_program(int number);
std::shared_ptr<const Program> program(int number);

}  // namespace native
