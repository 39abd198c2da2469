// Convolutions with or without a bias, in groups, plus other features (the sum of a unit), and the
// ReLU after them. `trained=0`: no gradients of parameters.
#include <algorithm>

#include "layers.h"

namespace native {

namespace {

using memory = dnnl::memory;
using tag = memory::format_tag;
using forward_pd = dnnl::convolution_forward::primitive_desc;
using data_pd = dnnl::convolution_backward_data::primitive_desc;
using weights_pd = dnnl::convolution_backward_weights::primitive_desc;

class Convolution : public Layer {
 public:
  Convolution(Plan& plan, const Instruction& by)
      : x_(by.number("x")), y_(by.number("y")), weight_(by.number("weight")),
        bias_(by.number("bias", -1)), sum_(by.number("add", -1)),
        act_(by.word("act", "none")), trained_(by.number("trained", 1) != 0) {
    kernel_ = by.number("kernel"), stride_ = by.number("stride", 1);
    pad_ = by.number("pad", 0), groups_ = by.number("groups", 1);
    from_ = plan.shape(x_), channels_ = by.number("channels");
    to_ = {from_.n, out(from_.h), out(from_.w), channels_};
    outputs = {y_};
    plan.define(y_, to_);
    if (sum_ >= 0 && !(plan.shape(sum_) == to_)) throw Error("a sum of features that differ");
    plan.expect(weight_, {channels_, from_.c / groups_, kernel_, kernel_});
    if (bias_ >= 0) plan.expect(bias_, {channels_});
    describe(plan);
  }

  void forward(Plan& plan) override {
    Place weight = packed(plan, "pack weights", forward_.weights_desc());
    std::map<int, std::pair<memory::desc, Place>> arguments{
        {DNNL_ARG_SRC, {features_x_, plan.data(x_)}},
        {DNNL_ARG_WEIGHTS, {forward_.weights_desc(), weight}},
        {DNNL_ARG_DST, {features_y_, plan.data(y_)}}};
    if (bias_ >= 0) arguments[DNNL_ARG_BIAS] = {bias_desc_, {Place::kInput, bias_}};
    if (sum_ >= 0)
      arguments[DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1] = {features_y_,
                                                                       plan.data(sum_)};
    plan.primitive("convolution" + suffix(), dnnl::convolution_forward(forward_),
                   forward_.scratchpad_desc(), arguments);
  }

  void backward(Plan& plan) override {
    if (!plan.has_gradient(y_)) return;
    Place dy = act_ == "relu" ? before_relu(plan, y_) : plan.gradient(y_);
    if (trained_) back_to_weights(plan, dy);
    if (plan.wants(x_)) {
      Place dx = plan.temporary(plan.feature_bytes(from_));
      Place weight = packed(plan, "pack weights", data_.weights_desc());
      plan.primitive("convolution to data" + suffix(), dnnl::convolution_backward_data(data_),
                     data_.scratchpad_desc(),
                     {{DNNL_ARG_DIFF_DST, {features_y_, dy}},
                      {DNNL_ARG_WEIGHTS, {data_.weights_desc(), weight}},
                      {DNNL_ARG_DIFF_SRC, {features_x_, dx}}});
      plan.add_gradient(x_, dx);
    }
    if (sum_ >= 0) plan.add_gradient(sum_, dy);
  }

 private:
  std::int64_t out(std::int64_t size) const { return (size + 2 * pad_ - kernel_) / stride_ + 1; }
  std::int64_t after(std::int64_t size) const {  // padding at the end
    return (out(size) - 1) * stride_ + kernel_ - size - pad_;
  }
  std::string suffix() const {
    std::string size = std::to_string(kernel_);
    return " " + size + "x" + size;
  }

  void describe(const Plan& plan) {
    features_x_ = plan.features(from_), features_y_ = plan.features(to_);
    Dims dims{channels_, from_.c / groups_, kernel_, kernel_};
    if (groups_ > 1) dims = {groups_, channels_ / groups_, from_.c / groups_, kernel_, kernel_};
    plain_ = memory::desc(dims, memory::data_type::f32, groups_ > 1 ? tag::goihw : tag::oihw);
    memory::desc any(dims, plan.type(), tag::any), gradient(dims, memory::data_type::f32, tag::any);
    if (bias_ >= 0) bias_desc_ = memory::desc({channels_}, memory::data_type::f32, tag::a);
    Dims strides{stride_, stride_}, none{0, 0}, before{pad_, pad_};
    Dims behind{after(from_.h), after(from_.w)};
    dnnl::primitive_attr attributes, with_more;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    with_more.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::post_ops more;
    if (sum_ >= 0) more.append_binary(dnnl::algorithm::binary_add, features_y_);
    if (act_ == "relu") more.append_eltwise(dnnl::algorithm::eltwise_relu, 0.f, 0.f);
    if (act_ == "relu6") more.append_eltwise(dnnl::algorithm::eltwise_clip, 0.f, 6.f);
    with_more.set_post_ops(more);
    auto direct = dnnl::algorithm::convolution_direct;
    auto training = dnnl::prop_kind::forward_training;
    auto kind = plan.inference() ? dnnl::prop_kind::forward_inference : training;
    forward_ = forward_pd(cpu(), kind, direct, features_x_, any, bias_desc_, features_y_, strides,
                          none, before, behind, with_more);
    if (plan.inference()) return;
    forward_pd hint(cpu(), training, direct, features_x_, any, bias_desc_, features_y_, strides,
                    none, before, behind, attributes);
    data_ = data_pd(cpu(), direct, features_x_, any, features_y_, strides, none, before, behind,
                    hint, attributes);
    weights_ = weights_pd(cpu(), direct, features_x_, gradient, bias_desc_, features_y_, strides,
                          none, before, behind, hint, attributes);
  }

  // Weights in the layout of a primitive.
  Place packed(Plan& plan, const std::string& name, const memory::desc& layout) const {
    Place master{Place::kInput, weight_};
    if (layout == plain_) return master;
    return plan.packed(weight_, layout, [&](Place place) {
      plan.reorder(name, plain_, master, layout, place);
    });
  }

  // That of a 1x1 convolution in float32 is one matrix product, without packing.
  void product_to_weights(Plan& plan, Place dy) {
    Place x = plan.data(x_);
    float old = plan.adds_to(weight_) ? 1.f : 0.f;
    std::int64_t rows = to_.rows(), outputs = channels_, inputs = from_.c;
    plan.step("convolution to weights 1x1", {x, dy}, [=](Run& run) {
      dnnl::sgemm('T', 'N', outputs, inputs, rows, 1.f, run.floats(dy), outputs, run.floats(x),
                  inputs, old, static_cast<float*>(run.gradients[weight_]), inputs);
    });
  }

  void back_to_weights(Plan& plan, Place dy) {
    bool plain = kernel_ == 1 && stride_ == 1 && pad_ == 0 && groups_ == 1 && bias_ < 0;
    if (plain && !plan.bfloat16() && std::min(from_.c, channels_) >= 32)
      return product_to_weights(plan, dy);
    memory::desc layout = weights_.diff_weights_desc();
    Place target{Place::kGradient, weight_};
    bool adds = plan.adds_to(weight_), direct = layout == plain_ && !adds;
    Place dw = direct ? target : plan.temporary(layout.get_size());
    std::map<int, std::pair<memory::desc, Place>> arguments{
        {DNNL_ARG_SRC, {features_x_, plan.data(x_)}},
        {DNNL_ARG_DIFF_DST, {features_y_, dy}},
        {DNNL_ARG_DIFF_WEIGHTS, {layout, dw}}};
    Place db;
    if (bias_ >= 0) {
      db = plan.temporary(bias_desc_.get_size());
      arguments[DNNL_ARG_DIFF_BIAS] = {bias_desc_, db};
    }
    plan.primitive("convolution to weights" + suffix(),
                   dnnl::convolution_backward_weights(weights_), weights_.scratchpad_desc(),
                   arguments);
    if (!direct) plan.reorder("unpack weights", layout, dw, plain_, target, adds);
    if (bias_ < 0) return;
    bool adds_bias = plan.adds_to(bias_);
    Place bias{Place::kGradient, bias_};
    std::int64_t count = channels_;
    plan.step("bias", {db}, [=](Run& run) {
      give_gradient(run.floats(bias), run.floats(db), count, adds_bias);
    });
  }

  int x_, y_, weight_, bias_, sum_;
  std::string act_;
  bool trained_;
  std::int64_t kernel_, stride_, pad_, groups_, channels_;
  Shape from_, to_;
  memory::desc features_x_, features_y_, plain_, bias_desc_;
  forward_pd forward_;
  data_pd data_;
  weights_pd weights_;
};

}  // namespace

std::unique_ptr<Layer> make_convolution(Plan& plan, const Instruction& by) {
  auto faster = make_winograd(plan, by);
  return faster ? std::move(faster) : std::make_unique<Convolution>(plan, by);
}

}  // namespace native
