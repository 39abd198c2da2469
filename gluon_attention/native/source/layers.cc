// Small layers: inputs and outputs of a program, pooling, sums.
#include "layers.h"

#include <cstring>

namespace native {

namespace {

using memory = dnnl::memory;
using tag = memory::format_tag;

memory::desc plain(const Shape& s) {
  return memory::desc({s.n, s.c, s.h, s.w}, memory::data_type::f32, tag::nchw);
}

// Images (N, C, H, W) of float32, from the first array.
class Images : public Layer {
 public:
  Images(Plan& plan, const Instruction& by) : y_(by.number("y")), input_(by.number("input", 0)) {
    const Dims& dims = plan.input_shape(input_);
    if (dims.size() != 4) throw Error("images are (N, C, H, W)");
    shape_ = {dims[0], dims[2], dims[3], dims[1]};
    outputs = {y_};
    plan.define(y_, shape_);
  }
  void forward(Plan& plan) override {
    plan.reorder("border", plain(shape_), {Place::kInput, input_}, plan.features(shape_),
                 plan.data(y_));
  }
  void backward(Plan& plan) override {
    if (!plan.wants(y_) || !plan.has_gradient(y_)) return;
    plan.reorder("border", plan.features(shape_), plan.gradient(y_), plain(shape_),
                 {Place::kGradient, input_});
  }

 private:
  int y_, input_;
  Shape shape_;
};

// Features (N, C, H, W) of float32 for an output.
class Features : public Layer {
 public:
  Features(Plan& plan, const Instruction& by)
      : x_(by.number("x")), output_(by.number("output")), shape_(plan.shape(x_)) {
    plan.give(output_, {shape_.n, shape_.c, shape_.h, shape_.w});
  }
  void forward(Plan& plan) override {
    plan.reorder("border", plan.features(shape_), plan.data(x_), plain(shape_),
                 {Place::kOutput, output_});
  }
  void backward(Plan& plan) override {
    if (!plan.wants(x_)) return;
    Place dx = plan.temporary(plan.feature_bytes(shape_));
    plan.reorder("border", plain(shape_), {Place::kHeadGradient, output_}, plan.features(shape_),
                 dx);
    plan.add_gradient(x_, dx);
  }

 private:
  int x_, output_;
  Shape shape_;
};

// The mean of each channel of each image, (N, C) of float32, for an output.
class Mean : public Layer {
 public:
  Mean(Plan& plan, const Instruction& by)
      : x_(by.number("x")), output_(by.number("output")), shape_(plan.shape(x_)) {
    plan.give(output_, {shape_.n, shape_.c});
    image_ = plan.feature_bytes(shape_) / shape_.n;
  }
  void forward(Plan& plan) override {
    const Kernels* loops = &plan.loops();
    Place x = plan.data(x_);
    int output = output_;
    std::int64_t pixels = shape_.h * shape_.w, c = shape_.c;
    plan.step("mean", {x}, [=](Run& run) {
      parallel(shape_.n, [&](std::int64_t i) {
        float* mean = static_cast<float*>(run.outputs[output]) + i * c;
        const char* image = static_cast<char*>(run.at(x)) + i * image_;
        std::memset(mean, 0, sizeof(float) * c);
        for (std::int64_t p = 0; p < pixels; ++p)
          loops->gather_in(image + p * (image_ / pixels), 1.f, mean, c);
        for (std::int64_t k = 0; k < c; ++k) mean[k] /= static_cast<float>(pixels);
      });
    });
  }
  void backward(Plan& plan) override {
    if (!plan.wants(x_)) return;
    const Kernels* loops = &plan.loops();
    Place dx = plan.temporary(plan.feature_bytes(shape_));
    int output = output_;
    std::int64_t pixels = shape_.h * shape_.w, c = shape_.c;
    plan.step("mean", {dx}, [=](Run& run) {
      parallel(shape_.n, [&](std::int64_t i) {
        const float* dy = static_cast<float*>(run.head_gradients[output]) + i * c;
        loops->spread(dy, 1.f / static_cast<float>(pixels),
                      static_cast<char*>(run.at(dx)) + i * image_, pixels, static_cast<int>(c));
      });
    });
    plan.add_gradient(x_, dx);
  }

 private:
  int x_, output_;
  Shape shape_;
  std::size_t image_;
};

// Max pooling of 3x3 by 2 with one pixel of padding, or as asked.
class Pool : public Layer {
 public:
  Pool(Plan& plan, const Instruction& by)
      : x_(by.number("x")), y_(by.number("y")), kernel_(by.number("kernel", 3)),
        stride_(by.number("stride", 2)), pad_(by.number("pad", 1)), from_(plan.shape(x_)) {
    to_ = {from_.n, out(from_.h), out(from_.w), from_.c};
    outputs = {y_};
    plan.define(y_, to_);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    Dims strides{stride_, stride_}, window{kernel_, kernel_}, none{0, 0}, before{pad_, pad_};
    Dims behind{after(from_.h), after(from_.w)};
    auto most = dnnl::algorithm::pooling_max;
    auto kind = plan.inference() ? dnnl::prop_kind::forward_inference
                                 : dnnl::prop_kind::forward_training;
    forward_ = dnnl::pooling_forward::primitive_desc(
        cpu(), kind, most, plan.features(from_), plan.features(to_),
        strides, window, none, before, behind, attributes);
    if (plan.inference()) return;
    backward_ = dnnl::pooling_backward::primitive_desc(cpu(), most, plan.features(from_),
                                                       plan.features(to_), strides, window, none,
                                                       before, behind, forward_, attributes);
  }
  void forward(Plan& plan) override {
    std::map<int, std::pair<memory::desc, Place>> arguments{
        {DNNL_ARG_SRC, {plan.features(from_), plan.data(x_)}},
        {DNNL_ARG_DST, {plan.features(to_), plan.data(y_)}}};
    if (!plan.inference()) {
      places_ = plan.temporary(forward_.workspace_desc().get_size());
      arguments[DNNL_ARG_WORKSPACE] = {forward_.workspace_desc(), places_};
    }
    plan.primitive("pool", dnnl::pooling_forward(forward_), forward_.scratchpad_desc(), arguments);
  }
  void backward(Plan& plan) override {
    if (!plan.has_gradient(y_) || !plan.wants(x_)) return;
    Place dx = plan.temporary(plan.feature_bytes(from_));
    plan.primitive("pool back", dnnl::pooling_backward(backward_), backward_.scratchpad_desc(),
                   {{DNNL_ARG_DIFF_DST, {plan.features(to_), plan.gradient(y_)}},
                    {DNNL_ARG_DIFF_SRC, {plan.features(from_), dx}},
                    {DNNL_ARG_WORKSPACE, {forward_.workspace_desc(), places_}}});
    plan.add_gradient(x_, dx);
  }

 private:
  std::int64_t out(std::int64_t size) const { return (size + 2 * pad_ - kernel_) / stride_ + 1; }
  std::int64_t after(std::int64_t size) const {
    return (out(size) - 1) * stride_ + kernel_ - size - pad_;
  }
  int x_, y_;
  std::int64_t kernel_, stride_, pad_;
  Shape from_, to_;
  dnnl::pooling_forward::primitive_desc forward_;
  dnnl::pooling_backward::primitive_desc backward_;
  Place places_;
};

using Loop = void (*)(const void*, const void*, void*, long, int);

// Adds a step that computes y from features a and b of the same shape.
void over(Plan& plan, const char* name, Place a, Place b, Place y, const Shape& shape, Loop loop,
          int act) {
  std::int64_t size = shape.size();
  std::size_t wide = plan.bfloat16() ? 2 : 4;
  plan.step(name, {a, b, y}, [=](Run& run) {
    const char *one = static_cast<char*>(run.at(a)), *two = static_cast<char*>(run.at(b));
    char* to = static_cast<char*>(run.at(y));
    pieces(size, 16384, [&](std::int64_t i, std::int64_t end) {
      loop(one + i * wide, two + i * wide, to + i * wide, end - i, act);
    });
  });
}

// y = act(a + b)
class Add : public Layer {
 public:
  Add(Plan& plan, const Instruction& by)
      : a_(by.number("a")), b_(by.number("b")), y_(by.number("y")),
        act_(by.word("act", "none") == "relu" ? kRelu : kLinear), shape_(plan.shape(a_)) {
    if (!(plan.shape(b_) == shape_)) throw Error("a sum of features that differ");
    outputs = {y_};
    plan.define(y_, shape_);
  }
  void forward(Plan& plan) override {
    over(plan, "add", plan.data(a_), plan.data(b_), plan.data(y_), shape_, plan.loops().add, act_);
  }
  void backward(Plan& plan) override {
    if (!plan.has_gradient(y_)) return;
    Place dy = act_ == kRelu ? before_relu(plan, y_) : plan.gradient(y_);
    plan.add_gradient(a_, dy);
    plan.add_gradient(b_, dy);
  }

 private:
  int a_, b_, y_, act_;
  Shape shape_;
};

template <class L>
std::unique_ptr<Layer> make(Plan& plan, const Instruction& by) {
  return std::make_unique<L>(plan, by);
}

}  // namespace

Place before_relu(Plan& plan, int y) {
  Place dy = plan.gradient(y), dx = plan.temporary(plan.feature_bytes(plan.shape(y)));
  over(plan, "relu back", plan.data(y), dy, dx, plan.shape(y), plan.loops().mask_by, kRelu);
  return dx;
}

std::unique_ptr<Layer> make_layer(Plan& plan, const Instruction& by) {
  static const std::map<std::string, Maker> makers{
      {"images", make<Images>},   {"convolution", make_convolution}, {"norm", make_norm},
      {"pool", make<Pool>},       {"resize", make_resize},           {"gate", make_gate},
      {"add", make<Add>},         {"features", make<Features>},      {"mean", make<Mean>}};
  auto maker = makers.find(by.name());
  if (maker == makers.end()) throw Error("no instruction is called " + by.name());
  return maker->second(plan, by);
}

}  // namespace native
