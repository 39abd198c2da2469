// The end of an attention module: activates the features of a mask and weights the trunk by them.
#include <cmath>

#include "layers.h"

namespace native {

namespace {

class Gate : public Layer {
 public:
  Gate(Plan& plan, const Instruction& by)
      : z_(by.number("z")), trunk_(by.number("trunk")), mask_(by.number("mask")),
        y_(by.number("y")), kind_(by.word("kind", "mixed")),
        more_(by.number("residual", 1) ? 1.f : 0.f) {
    shape_ = plan.shape(z_);
    if (!(plan.shape(trunk_) == shape_)) throw Error("a mask and a trunk that differ");
    if (kind_ != "mixed" && kind_ != "channel" && kind_ != "spatial")
      throw Error("no activation of masks is called " + kind_);
    outputs = {y_, mask_};
    plan.define(mask_, shape_);
    plan.define(y_, shape_);
    wide_ = plan.bfloat16() ? 2 : 4;
  }

  void forward(Plan& plan) override {
    const Kernels* loops = &plan.loops();
    Place z = plan.data(z_), t = plan.data(trunk_), m = plan.data(mask_), y = plan.data(y_);
    if (kind_ == "mixed") {
      plan.step("gate", {z, t, m, y}, [=](Run& run) {
        char *zs = at(run, z), *ts = at(run, t), *ms = at(run, m), *ys = at(run, y);
        flat([&](std::size_t i, std::int64_t n) {
          loops->sigmoid_weigh(zs + i, ts + i, ms + i, ys + i, n, more_);
        });
      });
      return;
    }
    if (kind_ == "channel") by_channel(plan, z, m, *loops);
    else by_map(plan, z, m, *loops);
    plan.step("gate", {t, m, y}, [=](Run& run) {
      char *ts = at(run, t), *ms = at(run, m), *ys = at(run, y);
      flat([&](std::size_t i, std::int64_t n) {
        loops->weigh(ms + i, ts + i, ys + i, n, more_);
      });
    });
  }

  void backward(Plan& plan) override {
    bool used = plan.has_gradient(y_), mask_used = plan.has_gradient(mask_);
    if (!used && !mask_used) return;
    std::size_t bytes = plan.feature_bytes(shape_);
    Place dz = plan.temporary(bytes);
    if (!used) {
      activation_back(plan, plan.gradient(mask_), dz);
    } else {
      Place dt = plan.temporary(bytes);
      if (kind_ == "mixed" && !mask_used) {
        weigh_back(plan, dt, dz, true);
      } else {
        Place dm = plan.temporary(bytes);
        weigh_back(plan, dt, dm, false);
        plan.add_gradient(mask_, dm);
        activation_back(plan, plan.gradient(mask_), dz);
      }
      plan.add_gradient(trunk_, dt);
    }
    plan.add_gradient(z_, dz);
  }

 private:
  static char* at(Run& run, Place place) { return static_cast<char*>(run.at(place)); }

  // body(offset in bytes, count) over pieces of all features
  template <class Body>
  void flat(const Body& body) const {
    pieces(shape_.size(), 16384, [&](std::int64_t first, std::int64_t last) {
      body(static_cast<std::size_t>(first) * wide_, last - first);
    });
  }

  void weigh_back(Plan& plan, Place dt, Place other, bool through) {
    const Kernels* loops = &plan.loops();
    Place m = plan.data(mask_), t = plan.data(trunk_), dy = plan.gradient(y_);
    plan.step("gate back", {m, t, dy, dt, other}, [=](Run& run) {
      char *ms = at(run, m), *ts = at(run, t), *gs = at(run, dy), *to = at(run, dt);
      char* rest = at(run, other);
      flat([&](std::size_t i, std::int64_t n) {
        auto back = through ? loops->sigmoid_weigh_backward : loops->weigh_backward;
        back(ms + i, ts + i, gs + i, to + i, rest + i, n, more_);
      });
    });
  }

  void activation_back(Plan& plan, Place dm, Place dz) {
    const Kernels* loops = &plan.loops();
    Place m = plan.data(mask_);
    if (kind_ == "channel") {
      Place norms = values_;
      std::int64_t c = shape_.c;
      plan.step("gate back", {m, dm, dz, norms}, [=](Run& run) {
        char *ms = at(run, m), *gs = at(run, dm), *to = at(run, dz);
        pieces(shape_.rows(), 64, [&](std::int64_t first, std::int64_t last) {
          std::size_t i = first * c * wide_;
          loops->unit_rows_backward(ms + i, gs + i, run.floats(norms) + first, to + i,
                                    last - first, static_cast<int>(c));
        });
      });
      return;
    }
    plan.step("gate back", {m, dm, dz}, [=](Run& run) {
      char *ms = at(run, m), *gs = at(run, dm), *to = at(run, dz);
      flat([&](std::size_t i, std::int64_t n) {
        loops->sigmoid_backward(ms + i, gs + i, to + i, n);
      });
    });
    if (kind_ == "spatial") map_back(plan, dz, *loops);
  }

  void by_channel(Plan& plan, Place z, Place m, const Kernels& kernels) {
    const Kernels* loops = &kernels;
    Place norms = values_ = plan.temporary(sizeof(float) * shape_.rows());
    int c = static_cast<int>(shape_.c);
    plan.step("gate", {z, m, norms}, [=](Run& run) {
      pieces(shape_.rows(), 64, [&](std::int64_t first, std::int64_t last) {
        std::size_t i = first * c * wide_;
        loops->unit_rows(at(run, z) + i, at(run, m) + i, run.floats(norms) + first, last - first,
                         c);
      });
    });
  }

  // Each map of a channel is normalized by itself, then the sigmoid. Values: mean, scale, shift.
  void by_map(Plan& plan, Place z, Place m, const Kernels& kernels) {
    const Kernels* loops = &kernels;
    Place values = values_ = plan.temporary(sizeof(float) * shape_.n * shape_.c * 5);
    int c = static_cast<int>(shape_.c);
    std::int64_t pixels = shape_.h * shape_.w;
    plan.step("gate", {z, m, values}, [=](Run& run) {
      parallel(shape_.n, [&](std::int64_t image) {
        std::size_t i = static_cast<std::size_t>(image) * pixels * c * wide_;
        float *mean = run.floats(values) + image * c * 5, *scale = mean + c, *shift = scale + c;
        float *sum = shift + c, *square = sum + c;
        loops->blend_in(at(run, z) + i, at(run, z) + i, 1.f, 0.f, mean, c);
        loops->moments(at(run, z) + i, pixels, c, mean, sum, square);
        for (int k = 0; k < c; ++k) {
          float off = sum[k] / pixels, variance = square[k] / pixels - off * off;
          mean[k] += off;
          scale[k] = 1.f / std::sqrt((variance > 0 ? variance : 0.f) + 1e-5f);
          shift[k] = -mean[k] * scale[k];
        }
        loops->normalize(at(run, z) + i, at(run, m) + i, pixels, c, scale, shift, kLinear);
        loops->sigmoid(at(run, m) + i, at(run, m) + i, pixels * c);
      });
    });
  }

  // dz holds the gradient of the normalized map, and becomes that of the map.
  void map_back(Plan& plan, Place dz, const Kernels& kernels) {
    const Kernels* loops = &kernels;
    Place z = plan.data(z_), values = values_;
    Place vectors = plan.temporary(sizeof(float) * shape_.n * shape_.c * 2);
    int c = static_cast<int>(shape_.c);
    std::int64_t pixels = shape_.h * shape_.w;
    plan.step("gate back", {z, dz, values, vectors}, [=](Run& run) {
      parallel(shape_.n, [&](std::int64_t image) {
        std::size_t i = static_cast<std::size_t>(image) * pixels * c * wide_;
        float *mean = run.floats(values) + image * c * 5, *scale = mean + c, *shift = scale + c;
        float *sum = run.floats(vectors) + image * c * 2, *product = sum + c;
        loops->norm_sums(at(run, z) + i, at(run, dz) + i, pixels, c, mean, scale, shift, kLinear,
                         sum, product);
        for (int k = 0; k < c; ++k) {
          float slope = -scale[k] * scale[k] * scale[k] * product[k] / pixels;
          sum[k] = -slope * mean[k] - scale[k] * sum[k] / pixels;
          product[k] = slope;
        }
        Normalizing by{scale, shift, product, sum};
        loops->norm_backward(at(run, z) + i, at(run, dz) + i, nullptr, nullptr, at(run, dz) + i,
                             pixels, c, by, kLinear);
      });
    });
  }

  int z_, trunk_, mask_, y_;
  std::string kind_;
  float more_;
  Shape shape_;
  std::size_t wide_;
  Place values_;
};

}  // namespace

std::unique_ptr<Layer> make_gate(Plan& plan, const Instruction& by) {
  return std::make_unique<Gate>(plan, by);
}

}  // namespace native
