// Convolutions of 3x3 as products of transformed tiles, see tiles.h: twice as fast.
#include <algorithm>
#include <cstring>

#include "layers.h"
#include "tiles.h"

namespace native {

namespace {

using memory = dnnl::memory;

// A matrix product for each point, and the memory that oneDNN needs for it.
struct Product {
  dnnl::matmul primitive;
  memory::desc a, b, y, scratch;
  Place extra;

  Product(Plan& plan, const memory::desc& a_, const memory::desc& b_, const memory::desc& y_,
          bool adds = false)
      : a(a_), b(b_), y(y_) {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (adds) {
      dnnl::post_ops sum;
      sum.append_sum(1.f);
      attributes.set_post_ops(sum);
    }
    dnnl::matmul::primitive_desc description(cpu(), a, b, y, attributes);
    primitive = dnnl::matmul(description);
    scratch = description.scratchpad_desc();
    if (scratch.get_size() > 0) extra = plan.temporary(scratch.get_size());
  }
  void operator()(Run& run, float* left, float* right, float* result) const {
    std::unordered_map<int, memory> bound{{DNNL_ARG_SRC, memory(a, cpu(), left)},
                                          {DNNL_ARG_WEIGHTS, memory(b, cpu(), right)},
                                          {DNNL_ARG_DST, memory(y, cpu(), result)}};
    if (extra) bound.emplace(DNNL_ARG_SCRATCHPAD, memory(scratch, cpu(), run.at(extra)));
    primitive.execute(run.stream, bound);
    run.stream.wait();
  }
};

// (kPoints, rows, columns), row by row or column by column.
memory::desc matrices(std::int64_t rows, std::int64_t columns, bool turned = false) {
  Dims strides{rows * columns, turned ? 1 : columns, turned ? rows : 1};
  return memory::desc({kPoints, rows, columns}, memory::data_type::f32, strides);
}

class Winograd : public Layer {
 public:
  Winograd(Plan& plan, const Instruction& by)
      : x_(by.number("x")), y_(by.number("y")), weight_(by.number("weight")),
        bias_(by.number("bias", -1)), relu_(by.word("act", "none") == "relu"),
        trained_(by.number("trained", 1) != 0),
        from_(plan.shape(x_)), to_(from_), rows_((from_.h + kTile - 1) / kTile),
        columns_((from_.w + kTile - 1) / kTile), tiles_(from_.n * rows_ * columns_) {
    to_.c = by.number("channels");
    outputs = {y_};
    plan.define(y_, to_);
    Dims dims{to_.c, from_.c, 3, 3};
    plan.expect(weight_, dims);
    if (bias_ >= 0) plan.expect(bias_, {to_.c});
    plain_ = memory::desc(dims, memory::data_type::f32, memory::format_tag::oihw);
  }

  // Tiles that reach far beyond the image waste what they save, and so do few channels and few
  // tiles; fewer tiles pay where filters are transformed only once. Products of bfloat16 would be
  // too coarse, and in float32 no faster than a direct convolution in bfloat16.
  static bool suits(const Plan& plan, const Instruction& by) {
    if (plan.bfloat16() || by.word("act", "none") == "relu6") return false;
    for (const auto& option : {std::make_pair("kernel", 3), {"stride", 1}, {"pad", 1},
                               {"groups", 1}, {"add", -1}})
      if (by.number(option.first, option.second) != option.second) return false;
    Shape x = plan.shape(by.number("x"));
    auto covered = (x.h + kTile - 1) / kTile * ((x.w + kTile - 1) / kTile) * kTile * kTile;
    std::int64_t channels = by.number("channels"), fewest = plan.inference() ? 8 : 32;
    return x.c % 16 == 0 && channels % 16 == 0 && std::min(x.c, channels) >= 32 &&
           2 * covered <= 3 * x.h * x.w && covered * x.n >= fewest * kTile * kTile;
  }

  void forward(Plan& plan) override {
    Place filters = transformed(plan, false);
    Place bias = bias_ < 0 ? Place{} : Place{Place::kInput, bias_};
    convolve(plan, "", plan.data(x_), from_, filters, plan.data(y_), to_, bias, relu_);
  }

  void backward(Plan& plan) override {
    if (!plan.has_gradient(y_)) return;
    Place dy = relu_ ? before_relu(plan, y_) : plan.gradient(y_);
    if (trained_) back_to_weights(plan, dy);
    if (trained_ && bias_ >= 0) back_to_bias(plan, dy);
    if (!plan.wants(x_)) return;
    Place dx = plan.temporary(plan.feature_bytes(from_)), filters = transformed(plan, true);
    convolve(plan, " to data", dy, to_, filters, dx, from_, {}, false);
    plan.add_gradient(x_, dx);
  }

 private:
  std::int64_t pairs() const { return from_.c * to_.c; }
  // Tiles that are transformed at once: few for the cache, but enough for one reading of filters.
  std::int64_t chunk(std::int64_t values, std::int64_t least) const {
    std::int64_t most = std::max(least, values / (from_.c + to_.c));
    std::int64_t chunks = (tiles_ + most - 1) / most;
    return (tiles_ + chunks - 1) / chunks;
  }

  // (9, inputs, outputs), or (9, outputs, inputs) for the backward pass.
  memory::desc taps(bool turned) const {
    Dims strides{turned ? from_.c : 1, turned ? 1 : to_.c, 3 * pairs(), pairs()};
    return memory::desc({to_.c, from_.c, 3, 3}, memory::data_type::f32, strides);
  }

  Place transformed(Plan& plan, bool turned) const {
    std::int64_t n = pairs();
    const Tiles* loops = loops_;
    auto layout = turned ? matrices(to_.c, from_.c) : matrices(from_.c, to_.c);
    return plan.packed(weight_, layout, [&](Place filters) {
      Place packed = plan.temporary(sizeof(float) * 9 * n);
      plan.reorder("pack weights", plain_, {Place::kInput, weight_}, taps(turned), packed);
      plan.step("pack weights", {packed, filters}, [=](Run& run) {
        pieces(n, 4096, [&](std::int64_t first, std::int64_t last) {
          loops->of_filters(run.floats(packed) + first, run.floats(filters) + first, n,
                            last - first, turned);
        });
      });
    });
  }

  // Transforms tiles [first, first + count) of features, [kPoints][size][channels].
  using Transform = void (*)(const float*, const Patch&, float*, long);
  void read(const Shape& shape, const float* features, float* values, std::int64_t first,
            std::int64_t count, std::int64_t size, Transform transform, int before) const {
    pieces(count, 4, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        Patch at = patch(shape, first + i, before);
        transform(features + image(shape, first + i), at, values + i * shape.c, size * shape.c);
      }
    });
  }
  Patch patch(const Shape& shape, std::int64_t tile, int before) const {
    std::int64_t row = tile / columns_ % rows_, column = tile % columns_;
    return {shape.h, shape.w, static_cast<int>(shape.c), row * kTile - before,
            column * kTile - before};
  }
  std::size_t image(const Shape& shape, std::int64_t tile) const {
    return tile / (rows_ * columns_) * shape.h * shape.w * shape.c;
  }

  void convolve(Plan& plan, const std::string& name, Place x, Shape from, Place filters, Place y,
                Shape to, Place bias, bool relu) const {
    std::int64_t size = chunk(8192, std::max<std::int64_t>(32, pairs() / 2048));
    Place inputs = plan.temporary(sizeof(float) * kPoints * size * from.c);
    Place results = plan.temporary(sizeof(float) * kPoints * size * to.c);
    Product product(plan, matrices(size, from.c), matrices(from.c, to.c), matrices(size, to.c));
    plan.step("winograd" + name, {x, filters, y, inputs, results, product.extra},
              [=](Run& run) {
      float *values = run.floats(inputs), *sums = run.floats(results);
      for (std::int64_t first = 0; first < tiles_; first += size) {
        std::int64_t count = std::min(size, tiles_ - first);
        read(from, run.floats(x), values, first, count, size, loops_->of_inputs, 1);
        product(run, values, run.floats(filters), sums);  // values beyond count are dropped
        pieces(count, 4, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i)
            loops_->to_outputs(sums + i * to.c, size * to.c, run.floats(y) + image(to, first + i),
                               patch(to, first + i, 0), run.floats(bias), relu);
        });
      }
    });
  }

  void back_to_weights(Plan& plan, Place dy) {
    std::int64_t n = pairs(), size = chunk(16384, std::max<std::int64_t>(128, n / 1024));
    Place x = plan.data(x_), inputs = plan.temporary(sizeof(float) * kPoints * size * from_.c);
    Place gradients = plan.temporary(sizeof(float) * kPoints * size * to_.c);
    Place sums = plan.temporary(sizeof(float) * kPoints * n);
    Place packed = plan.temporary(sizeof(float) * 9 * n);
    auto left = matrices(from_.c, size, true), right = matrices(size, to_.c);
    Product begin(plan, left, right, matrices(from_.c, to_.c));
    Product more(plan, left, right, matrices(from_.c, to_.c), true);
    plan.step("winograd to weights",
              {x, dy, inputs, gradients, sums, packed, begin.extra, more.extra}, [=](Run& run) {
      float *values = run.floats(inputs), *slopes = run.floats(gradients);
      for (std::int64_t first = 0; first < tiles_; first += size) {
        std::int64_t count = std::min(size, tiles_ - first);
        if (count < size) {
          std::memset(values, 0, sizeof(float) * kPoints * size * from_.c);
          std::memset(slopes, 0, sizeof(float) * kPoints * size * to_.c);
        }
        read(from_, run.floats(x), values, first, count, size, loops_->of_inputs, 1);
        read(to_, run.floats(dy), slopes, first, count, size, loops_->of_gradients, 0);
        (first == 0 ? begin : more)(run, values, slopes, run.floats(sums));
      }
      pieces(n, 4096, [&](std::int64_t first, std::int64_t last) {
        loops_->to_filters(run.floats(sums) + first, run.floats(packed) + first, n, last - first);
      });
    });
    bool adds = plan.adds_to(weight_);
    plan.reorder("unpack weights", taps(false), packed, plain_, {Place::kGradient, weight_}, adds);
  }

  // Sums over pixels, in portions of images that do not depend on the number of threads.
  void back_to_bias(Plan& plan, Place dy) {
    Place sums = plan.temporary(sizeof(float) * to_.n * to_.c);
    bool adds = plan.adds_to(bias_);
    const Kernels* loops = &plan.loops();
    std::int64_t c = to_.c, pixels = to_.h * to_.w;
    plan.step("bias", {dy, sums}, [=](Run& run) {
      float* all = run.floats(sums);
      parallel(to_.n, [&](std::int64_t i) {
        const float* image = run.floats(dy) + i * pixels * c;
        std::memset(all + i * c, 0, sizeof(float) * c);
        for (std::int64_t p = 0; p < pixels; ++p)
          loops->gather(image + p * c, 1.f, all + i * c, c);
      });
      for (std::int64_t i = 1; i < to_.n; ++i) loops->gather(all + i * c, 1.f, all, c);
      give_gradient(static_cast<float*>(run.gradients[bias_]), all, c, adds);
    });
  }

  int x_, y_, weight_, bias_;
  bool relu_, trained_;
  Shape from_, to_;
  std::int64_t rows_, columns_, tiles_;
  memory::desc plain_;
  const Tiles* loops_ = &tiles();
};

}  // namespace

std::unique_ptr<Layer> make_winograd(Plan& plan, const Instruction& by) {
  if (!Winograd::suits(plan, by)) return nullptr;
  return std::make_unique<Winograd>(plan, by);
}

}  // namespace native
