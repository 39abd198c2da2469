#include "program.h"

#include <mutex>
#include <sstream>

namespace native {

Instruction::Instruction(const std::string& line) {
  std::istringstream words(line);
  words >> name_;
  for (std::string word; words >> word;) {
    auto equals = word.find('=');
    if (equals == std::string::npos) throw Error("no value in '" + word + "' of '" + line + "'");
    arguments_[word.substr(0, equals)] = word.substr(equals + 1);
  }
}

std::string Instruction::word(const std::string& key, const std::string& otherwise) const {
  auto argument = arguments_.find(key);
  return argument == arguments_.end() ? otherwise : argument->second;
}

int Instruction::number(const std::string& key) const {
  auto argument = arguments_.find(key);
  if (argument == arguments_.end()) throw Error(name_ + " needs " + key);
  return std::stoi(argument->second);
}

int Instruction::number(const std::string& key, int otherwise) const {
  return has(key) ? number(key) : otherwise;
}

float Instruction::real(const std::string& key, float otherwise) const {
  return has(key) ? std::stof(arguments_.at(key)) : otherwise;
}

Program::Program(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    Instruction instruction(line);
    if (instruction.name() == "program") {
      inputs = instruction.number("inputs");
      outputs = instruction.number("outputs");
      bfloat16 = instruction.number("bfloat16", 0) != 0;
      input_gradient = instruction.number("input_gradient", 0) != 0;
      inference = instruction.number("inference", 0) != 0;
    } else {
      instructions.push_back(instruction);
    }
  }
  if (inputs < 1 || outputs < 1) throw Error("a program has inputs and outputs");
}

namespace {

std::mutex mutex;
std::map<std::string, int>& numbers() {
  static auto* all = new std::map<std::string, int>;
  return *all;
}
std::vector<std::shared_ptr<Program>>& programs() {
  static auto* all = new std::vector<std::shared_ptr<Program>>;
  return *all;
}

}  // namespace

int add_program(const std::string& text) {
  std::lock_guard<std::mutex> lock(mutex);
  auto entry = numbers().find(text);
  if (entry != numbers().end()) return entry->second;
  programs().push_back(std::make_shared<Program>(text));
  int number = static_cast<int>(programs().size()) - 1;
  if (!programs().back()->inference) numbers()[text] = number;
  return number;
}

void add_constant(int number, Constant constant) {
  std::lock_guard<std::mutex> lock(mutex);
  programs().at(number)->constants.push_back(std::move(constant));
}

void forget_program(int number) {
  std::lock_guard<std::mutex> lock(mutex);
  programs().at(number).reset();
}

std::shared_ptr<const Program> program(int number) {
  std::lock_guard<std::mutex> lock(mutex);
  if (number < 0 || number >= static_cast<int>(programs().size()) || !programs()[number])
    throw Error("there is no native program " + std::to_string(number));
  return programs()[number];
}

}  // namespace native
