// A program for one shape of images: its steps, and the memory of all features and gradients.
#pragma once

#include <dnnl.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "arena.h"
#include "kernels.h"
#include "program.h"

namespace native {

// Features (n, h, w, c) in memory, the channels of a pixel side by side.
struct Shape {
  std::int64_t n = 0, h = 0, w = 0, c = 0;
  std::int64_t rows() const { return n * h * w; }
  std::int64_t size() const { return rows() * c; }
  bool operator==(const Shape& o) const { return n == o.n && h == o.h && w == o.w && c == o.c; }
};

// A place in memory: a part of the arena, packed weights of inference, or an array of a run.
struct Place {
  enum Kind { kNone, kArena, kPacked, kInput, kOutput, kHeadGradient, kGradient };
  Kind kind = kNone;
  int index = -1;
  explicit operator bool() const { return kind != kNone; }
  bool operator<(const Place& o) const { return kind != o.kind ? kind < o.kind : index < o.index; }
};

// Weights in the layout of a primitive.
struct Pack {
  int weight;
  dnnl::memory::desc layout;
  std::shared_ptr<char> memory;
};

// The arrays of one forward or backward call.
struct Run {
  char* arena = nullptr;
  const std::vector<std::size_t>* offsets = nullptr;
  const std::vector<Pack>* packed = nullptr;
  void* const* inputs = nullptr;
  void* const* outputs = nullptr;
  void* const* head_gradients = nullptr;
  void* const* gradients = nullptr;
  dnnl::stream stream;

  void* at(const Place& place) const;
  float* floats(const Place& place) const { return static_cast<float*>(at(place)); }
};

using Work = std::function<void(Run&)>;

class Plan;

// One instruction for one shape; members keep values that backward needs.
class Layer {
 public:
  virtual ~Layer() = default;
  virtual void forward(Plan& plan) = 0;
  virtual void backward(Plan& plan) = 0;
  std::vector<int> outputs;  // the features that it computes
};

class Plan {
 public:
  Plan(std::shared_ptr<const Program> program, const std::vector<Dims>& shapes,
       const Plan* like = nullptr);

  // Called by MXNet, through a state.
  void forward(Run& run) const;
  void infer(void* images, void* const* outputs, dnnl::stream stream) const {
    work(forward_, images, outputs, stream);
  }
  void backward(Run& run) const;
  std::size_t bytes() const { return bytes_; }
  const std::vector<std::size_t>& offsets() const { return offsets_; }
  const std::vector<Dims>& output_shapes() const { return output_shapes_; }
  const Program& program() const { return *program_; }

  // Called by layers while a plan is built.
  bool bfloat16() const { return program_->bfloat16; }
  bool inference() const { return program_->inference; }
  dnnl::memory::data_type type() const;
  std::size_t feature_bytes(const Shape& shape) const;
  const Kernels& loops() const { return kernels(bfloat16()); }
  dnnl::memory::desc features(const Shape& shape) const;

  void expect(int input, const Dims& dims) const;  // refuses arrays of another shape
  const Dims& input_shape(int input) const { return shapes_.at(input); }
  void give(int output, const Dims& dims) { output_shapes_.at(output) = dims; }

  void define(int tensor, const Shape& shape);  // features that this instruction computes
  const Shape& shape(int tensor) const { return tensors_.at(tensor).shape; }
  Place data(int tensor) const { return tensors_.at(tensor).data; }
  Place temporary(std::size_t bytes);
  // Weights in another layout: packed by `pack` in each run, in inference only once.
  Place packed(int weight, const dnnl::memory::desc& layout,
               const std::function<void(Place)>& pack);
  // Adds a step, which reads or writes those places.
  void step(const std::string& name, const std::vector<Place>& places, Work work);
  void primitive(const std::string& name, const dnnl::primitive& primitive,
                 const dnnl::memory::desc& scratchpad,
                 const std::map<int, std::pair<dnnl::memory::desc, Place>>& arguments);
  void reorder(const std::string& name, const dnnl::memory::desc& from, Place source,
               const dnnl::memory::desc& to, Place target, bool add = false);

  // Gradients of features. Those of several consumers stay separate until `gradient` adds them.
  bool wants(int tensor) const { return tensors_.at(tensor).needs_gradient; }
  void unwanted(int tensor) { tensors_.at(tensor).needs_gradient = false; }
  bool has_gradient(int tensor) const { return !tensors_.at(tensor).pending.empty(); }
  Place gradient(int tensor);  // the sum
  void add_gradient(int tensor, Place place);
  std::vector<Place> take_gradients(int tensor, std::size_t most);
  bool alone(const Place& place) const;  // nobody else reads it: it may be overwritten

  // Gradients of parameters. True: add to the gradient that an earlier step wrote.
  bool adds_to(int input);

 private:
  struct Tensor {
    Shape shape;
    Place data;
    bool needs_gradient = true;
    std::vector<Place> pending;
  };
  struct Part {  // a part of the arena, and the first and last step that use it
    std::size_t bytes;
    int first, last;
  };
  struct Step {
    std::string name;
    Work work;
  };

  bool needs_backward(const Instruction& by) const;
  void place_parts();
  void work(const std::vector<Step>& steps, void* images, void* const* outputs,
            dnnl::stream stream) const;

  std::shared_ptr<const Program> program_;
  std::vector<Dims> shapes_, output_shapes_;
  std::map<int, Tensor> tensors_;
  std::map<Place, int> holders_;  // of gradients: features that have them
  std::set<int> written_;         // gradients of parameters
  std::vector<Part> parts_;
  std::vector<Step> forward_, backward_, once_;
  std::vector<Step>* steps_ = &forward_;  // that are being planned
  std::vector<Pack> packed_;
  const Plan* like_;  // for another shape, with packed weights to share
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<std::size_t> offsets_;
  std::size_t bytes_ = 0;
  int now_ = 0;
};

// The cached plan for these shapes, or a new one.
std::shared_ptr<const Plan> plan(int program, const std::vector<Dims>& shapes);
void forget(int program);  // and its plans

const dnnl::engine& cpu();

// Runs body(i) for i below count, on all threads.
template <class Body>
void parallel(std::int64_t count, const Body& body) {
#pragma omp parallel for schedule(static) if (count > 1)
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

// Runs body(first, last) over pieces of [0, count), on all threads.
template <class Body>
void pieces(std::int64_t count, std::int64_t piece, const Body& body) {
  piece = piece < 1 ? 1 : piece;
  parallel((count + piece - 1) / piece, [&](std::int64_t i) {
    std::int64_t first = i * piece, last = first + piece;
    body(first, last < count ? last : count);
  });
}

// Processor time of each kind of step since profiling was turned on, in seconds, as lines of text.
void profile(bool on);
std::string profiled();

}  // namespace native
