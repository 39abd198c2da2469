// Bilinear resize with corners aligned, one axis after the other.
#include <algorithm>
#include <cstring>

#include "layers.h"

namespace native {

namespace {

// The two pixels of a line that each resized pixel mixes, and the reverse.
struct Line {
  struct Mix {
    int first, second;
    float of_first, of_second;
  };
  struct Use {
    int pixel;
    float weight;
  };
  std::vector<Mix> mixes;               // of each resized pixel
  std::vector<std::vector<Use>> uses;  // of each source pixel

  // Hat functions of the distance in float32, as ops/resize.py has them.
  Line(std::int64_t from, std::int64_t to) : uses(from) {
    float last = static_cast<float>(from - 1);
    float steps = std::max(1.f, static_cast<float>(to - 1));
    for (int i = 0; i < to; ++i) {
      float place = static_cast<float>(i) * last / steps;
      int first = std::min(static_cast<int>(place), static_cast<int>(from) - 1);
      int second = std::min(first + 1, static_cast<int>(from) - 1);
      float a = std::max(0.f, 1.f - (place - first));
      float b = second > first ? std::max(0.f, 1.f - (second - place)) : 0.f;
      mixes.push_back({first, second, a, b});
      if (a > 0) uses[first].push_back({i, a});
      if (b > 0) uses[second].push_back({i, b});
    }
  }
};

class Resize : public Layer {
 public:
  Resize(Plan& plan, const Instruction& by)
      : x_(by.number("x")), y_(by.number("y")), from_(plan.shape(x_)), to_(from_),
        down_(1, 1), along_(1, 1) {
    const Shape& like = plan.shape(by.number("like"));
    to_.h = like.h, to_.w = like.w;
    down_ = Line(from_.h, to_.h), along_ = Line(from_.w, to_.w);
    outputs = {y_};
    plan.define(y_, to_);
    wide_ = plan.bfloat16() ? 2 : 4;
  }

  void forward(Plan& plan) override {
    const Kernels* loops = &plan.loops();
    Place x = plan.data(x_), y = plan.data(y_);
    std::int64_t lines = from_.n * to_.h, line = from_.w * from_.c;
    Place mixed = plan.temporary(sizeof(float) * lines * line);
    plan.step("resize", {x, y, mixed}, [=](Run& run) {
      parallel(lines, [&](std::int64_t i) {
        const Line::Mix& mix = down_.mixes[i % to_.h];
        const char* image = static_cast<char*>(run.at(x)) + i / to_.h * from_.h * line * wide_;
        float* between = run.floats(mixed) + i * line;
        loops->blend_in(image + mix.first * line * wide_, image + mix.second * line * wide_,
                        mix.of_first, mix.of_second, between, line);
        char* out = static_cast<char*>(run.at(y)) + i * to_.w * to_.c * wide_;
        for (std::int64_t j = 0; j < to_.w; ++j) {
          const Line::Mix& pair = along_.mixes[j];
          loops->blend_out(between + pair.first * to_.c, between + pair.second * to_.c,
                           pair.of_first, pair.of_second, out + j * to_.c * wide_, to_.c);
        }
      });
    });
  }

  void backward(Plan& plan) override {
    if (!plan.has_gradient(y_) || !plan.wants(x_)) return;
    const Kernels* loops = &plan.loops();
    Place dy = plan.gradient(y_), dx = plan.temporary(plan.feature_bytes(from_));
    std::int64_t lines = from_.n * from_.h, line = to_.w * to_.c;
    Place sums = plan.temporary(sizeof(float) * lines * (line + to_.c));
    plan.step("resize back", {dy, dx, sums}, [=](Run& run) {
      parallel(lines, [&](std::int64_t i) {
        const char* image = static_cast<char*>(run.at(dy)) + i / from_.h * to_.h * line * wide_;
        float *between = run.floats(sums) + i * (line + to_.c), *pixel = between + line;
        std::memset(between, 0, sizeof(float) * line);
        for (const Line::Use& use : down_.uses[i % from_.h])
          loops->gather_in(image + use.pixel * line * wide_, use.weight, between, line);
        char* out = static_cast<char*>(run.at(dx)) + i * from_.w * from_.c * wide_;
        for (std::int64_t j = 0; j < from_.w; ++j) {
          std::memset(pixel, 0, sizeof(float) * to_.c);
          for (const Line::Use& use : along_.uses[j])
            loops->gather(between + use.pixel * to_.c, use.weight, pixel, to_.c);
          loops->store(pixel, out + j * from_.c * wide_, to_.c);
        }
      });
    });
    plan.add_gradient(x_, dx);
  }

 private:
  int x_, y_;
  Shape from_, to_;
  Line down_, along_;
  std::size_t wide_;
};

}  // namespace

std::unique_ptr<Layer> make_resize(Plan& plan, const Instruction& by) {
  return std::make_unique<Resize>(plan, by);
}

}  // namespace native
