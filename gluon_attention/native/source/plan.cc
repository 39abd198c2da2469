#include "plan.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <list>
#include <mutex>
#include <sstream>

#include "layers.h"

namespace native {

using memory = dnnl::memory;

const dnnl::engine& cpu() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

void* Run::at(const Place& place) const {
  switch (place.kind) {
    case Place::kArena: return arena + (*offsets)[place.index];
    case Place::kPacked: return (*packed)[place.index].memory.get();
    case Place::kInput: return inputs[place.index];
    case Place::kOutput: return outputs[place.index];
    case Place::kHeadGradient: return head_gradients[place.index];
    case Place::kGradient: return gradients[place.index];
    default: return nullptr;
  }
}

Plan::Plan(std::shared_ptr<const Program> program, const std::vector<Dims>& shapes,
           const Plan* like)
    : program_(std::move(program)), shapes_(shapes), output_shapes_(program_->outputs),
      like_(like) {
  if (static_cast<int>(shapes.size()) != program_->inputs)
    throw Error("the program takes " + std::to_string(program_->inputs) + " arrays, not " +
                std::to_string(shapes.size()));
  for (const Constant& constant : program_->constants) shapes_.push_back(constant.dims);
  for (const Instruction& instruction : program_->instructions) {
    layers_.push_back(make_layer(*this, instruction));
    layers_.back()->forward(*this);
    if (!needs_backward(instruction))
      for (int tensor : layers_.back()->outputs) unwanted(tensor);
  }
  if (inference()) {
    place_parts();
    work(once_, nullptr, nullptr, dnnl::stream(cpu()));
    once_.clear();
    like_ = nullptr;
    return;
  }
  steps_ = &backward_;
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    (*layer)->backward(*this);
    for (int tensor : (*layer)->outputs) {  // its gradient is not needed any more
      for (const Place& place : tensors_.at(tensor).pending) --holders_[place];
      tensors_.at(tensor).pending.clear();
    }
  }
  place_parts();
}

// Whether features or parameters that an instruction reads need gradients, or statistics move.
bool Plan::needs_backward(const Instruction& by) const {
  if (by.name() == "images") return program_->input_gradient;
  for (const char* key : {"x", "a", "b", "z", "trunk", "add"})
    if (by.has(key) && wants(by.number(key))) return true;
  if (by.has("gamma") && !by.number("fixed", 0)) return true;
  return (by.has("gamma") || by.has("weight")) && by.number("trained", 1);
}

memory::data_type Plan::type() const {
  return bfloat16() ? memory::data_type::bf16 : memory::data_type::f32;
}

std::size_t Plan::feature_bytes(const Shape& shape) const {
  return static_cast<std::size_t>(shape.size()) * (bfloat16() ? 2 : 4);
}

memory::desc Plan::features(const Shape& shape) const {
  return memory::desc({shape.n, shape.c, shape.h, shape.w}, type(), memory::format_tag::nhwc);
}

void Plan::expect(int input, const Dims& dims) const {
  if (shapes_.at(input) != dims)
    throw Error("array " + std::to_string(input) + " of a native program has another shape");
}

void Plan::define(int tensor, const Shape& shape) {
  if (shape.size() < 1) throw Error("images are too small for this network");
  Tensor entry;
  entry.shape = shape;
  entry.data = temporary(feature_bytes(shape));
  if (!tensors_.emplace(tensor, entry).second)
    throw Error("features " + std::to_string(tensor) + " are computed twice");
}

Place Plan::temporary(std::size_t bytes) {
  parts_.push_back({bytes, -1, -1});
  return {Place::kArena, static_cast<int>(parts_.size()) - 1};
}

Place Plan::packed(int weight, const memory::desc& layout,
                   const std::function<void(Place)>& pack) {
  if (!inference()) {
    Place place = temporary(layout.get_size());
    pack(place);
    return place;
  }
  auto same = [&](const Pack& other) { return other.weight == weight && other.layout == layout; };
  auto here = std::find_if(packed_.begin(), packed_.end(), same);
  Place place{Place::kPacked, static_cast<int>(here - packed_.begin())};
  if (here != packed_.end()) return place;
  if (like_) {
    auto there = std::find_if(like_->packed_.begin(), like_->packed_.end(), same);
    if (there != like_->packed_.end()) {
      packed_.push_back(*there);
      return place;
    }
  }
  std::size_t bytes = (layout.get_size() + 63) / 64 * 64;
  std::shared_ptr<char> memory(static_cast<char*>(std::aligned_alloc(64, bytes)), std::free);
  if (!memory) throw std::bad_alloc();
  packed_.push_back({weight, layout, std::move(memory)});
  steps_ = &once_;
  pack(place);
  steps_ = &forward_;
  return place;
}

void Plan::step(const std::string& name, const std::vector<Place>& places, Work work) {
  for (const Place& place : places) {
    if (place.kind != Place::kArena) continue;
    Part& part = parts_[place.index];
    if (part.first < 0) part.first = now_;
    part.last = now_;
  }
  ++now_;
  steps_->push_back({name, std::move(work)});
}

void Plan::primitive(const std::string& name, const dnnl::primitive& primitive,
                     const memory::desc& scratchpad,
                     const std::map<int, std::pair<memory::desc, Place>>& arguments) {
  auto all = arguments;
  if (scratchpad.get_size() > 0)
    all[DNNL_ARG_SCRATCHPAD] = {scratchpad, temporary(scratchpad.get_size())};
  std::vector<Place> places;
  for (const auto& argument : all) places.push_back(argument.second.second);
  step(name, places, [primitive, all](Run& run) {
    std::unordered_map<int, memory> bound;
    for (const auto& argument : all)
      bound.emplace(argument.first, memory(argument.second.first, cpu(),
                                           run.at(argument.second.second)));
    primitive.execute(run.stream, bound);
  });
}

void Plan::reorder(const std::string& name, const memory::desc& from, Place source,
                   const memory::desc& to, Place target, bool add) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (add) {
    dnnl::post_ops sum;
    sum.append_sum(1.f);
    attributes.set_post_ops(sum);
  }
  dnnl::reorder::primitive_desc description(cpu(), from, cpu(), to, attributes);
  primitive(name, dnnl::reorder(description), description.scratchpad_desc(),
            {{DNNL_ARG_FROM, {from, source}}, {DNNL_ARG_TO, {to, target}}});
}

void Plan::add_gradient(int tensor, Place place) {
  Tensor& of = tensors_.at(tensor);
  if (!of.needs_gradient) return;
  ++holders_[place];
  of.pending.push_back(place);
}

bool Plan::alone(const Place& place) const {
  auto holders = holders_.find(place);
  return place.kind == Place::kArena && (holders == holders_.end() || holders->second == 0);
}

// Pending gradients, summed up to at most `most`; the caller adds a gradient that includes them.
std::vector<Place> Plan::take_gradients(int tensor, std::size_t most) {
  Tensor& of = tensors_.at(tensor);
  while (of.pending.size() > most) {
    if (most == 0) throw Error("gradients cannot be dropped");
    Place first = of.pending[of.pending.size() - 2], second = of.pending.back();
    of.pending.resize(of.pending.size() - 2);
    --holders_[first], --holders_[second];
    Place sum = alone(first) ? first : alone(second) ? second : temporary(feature_bytes(of.shape));
    std::int64_t size = of.shape.size();
    const Kernels* loops = &this->loops();
    std::size_t wide = bfloat16() ? 2 : 4;
    step("add gradients", {first, second, sum}, [=](Run& run) {
      char *a = static_cast<char*>(run.at(first)), *b = static_cast<char*>(run.at(second));
      char* y = static_cast<char*>(run.at(sum));
      pieces(size, 16384, [&](std::int64_t i, std::int64_t end) {
        loops->add(a + i * wide, b + i * wide, y + i * wide, end - i, kLinear);
      });
    });
    add_gradient(tensor, sum);
  }
  std::vector<Place> places;
  places.swap(of.pending);
  for (const Place& place : places) --holders_[place];
  return places;
}

Place Plan::gradient(int tensor) {
  std::vector<Place> sum = take_gradients(tensor, 1);
  if (sum.empty()) throw Error("features without a gradient");
  add_gradient(tensor, sum[0]);
  return sum[0];
}

bool Plan::adds_to(int input) {
  return !written_.insert(input).second;
}

namespace {

// Gaps between those that are in use at the same time, the smallest that is wide enough.
std::size_t gap_for(std::size_t bytes, std::vector<std::pair<std::size_t, std::size_t>> ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::size_t at = 0, best = 0, width = SIZE_MAX;
  for (const auto& range : ranges) {
    if (range.first > at && range.first - at >= bytes && range.first - at < width)
      best = at, width = range.first - at;
    at = std::max(at, range.second);
  }
  return width == SIZE_MAX ? at : best;
}

}  // namespace

// Largest first, each as low as what is in use at the same time lets it.
void Plan::place_parts() {
  offsets_.assign(parts_.size(), 0);
  std::vector<int> order;
  for (int i = 0; i < static_cast<int>(parts_.size()); ++i)
    if (parts_[i].first >= 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [this](int a, int b) { return parts_[a].bytes > parts_[b].bytes; });
  std::vector<int> placed;
  for (int i : order) {
    const Part& part = parts_[i];
    std::size_t bytes = (part.bytes + 63) / 64 * 64;
    std::vector<std::pair<std::size_t, std::size_t>> ranges;
    for (int j : placed) {
      const Part& other = parts_[j];
      if (other.first <= part.last && part.first <= other.last)
        ranges.emplace_back(offsets_[j], offsets_[j] + (other.bytes + 63) / 64 * 64);
    }
    offsets_[i] = gap_for(bytes, std::move(ranges));
    placed.push_back(i);
    bytes_ = std::max(bytes_, offsets_[i] + bytes);
  }
}

namespace {

struct Profile {
  std::mutex mutex;
  bool on = false;
  std::map<std::string, double> seconds;
};
Profile& times() {
  static auto* all = new Profile;
  return *all;
}

// Processor time of this thread, which works in every step: other load does not count.
double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class Steps>
void take(const Steps& steps, Run& run) {
  bool timed = times().on;
  for (const auto& step : steps) {
    double start = timed ? thread_seconds() : 0;
    step.work(run);
    if (!timed) continue;
    run.stream.wait();
    std::lock_guard<std::mutex> lock(times().mutex);
    times().seconds[step.name] += thread_seconds() - start;
  }
  run.stream.wait();
}

}  // namespace

void Plan::forward(Run& run) const { take(forward_, run); }
void Plan::backward(Run& run) const { take(backward_, run); }

// Steps of inference that run once, or in each call.
void Plan::work(const std::vector<Step>& steps, void* images, void* const* outputs,
                dnnl::stream stream) const {
  std::vector<void*> inputs{images};
  for (const Constant& constant : program_->constants)
    inputs.push_back(const_cast<float*>(constant.values.data()));
  Arena arena(bytes_);
  Run run{arena.base(), &offsets_, &packed_, inputs.data(), outputs, nullptr, nullptr, stream};
  take(steps, run);
}

void profile(bool on) {
  std::lock_guard<std::mutex> lock(times().mutex);
  times().on = on;
  times().seconds.clear();
}

std::string profiled() {
  std::lock_guard<std::mutex> lock(times().mutex);
  std::ostringstream text;
  for (const auto& step : times().seconds) text << step.second << ' ' << step.first << '\n';
  return text.str();
}

namespace {

struct Entry {
  int number;
  std::vector<Dims> shapes;
  std::shared_ptr<const Plan> plan;
};
struct Recent {
  std::mutex mutex;
  std::list<Entry> entries;
};
Recent& recent() {
  static auto* all = new Recent;
  return *all;
}

}  // namespace

std::shared_ptr<const Plan> plan(int number, const std::vector<Dims>& shapes) {
  constexpr std::size_t capacity = 16;
  std::lock_guard<std::mutex> lock(recent().mutex);
  auto& entries = recent().entries;
  const Plan* like = nullptr;
  for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
    if (entry->number != number) continue;
    if (entry->shapes == shapes) {
      entries.splice(entries.begin(), entries, entry);
      return entries.front().plan;
    }
    like = entry->plan.get();
  }
  auto plan = std::make_shared<const Plan>(program(number), shapes, like);
  entries.push_front({number, shapes, plan});
  if (entries.size() > capacity) entries.pop_back();
  return plan;
}

void forget(int number) {
  std::lock_guard<std::mutex> lock(recent().mutex);
  recent().entries.remove_if([=](const Entry& entry) { return entry.number == number; });
  forget_program(number);
}

}  // namespace native
