// BatchNorm over pixels and images, with the activation that follows it. `fixed`: by the running
// statistics, which do not change. `trained=0`: no gradients of gamma and beta.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "layers.h"

namespace native {

namespace {

struct Affine {  // places of values per channel
  Place mean, variance, scale, shift;
};

class Norm : public Layer {
 public:
  Norm(Plan& plan, const Instruction& by)
      : x_(by.number("x")), y_(by.number("y")), gamma_(by.number("gamma")),
        beta_(by.number("beta")), mean_(by.number("mean")), variance_(by.number("variance")),
        eps_(by.real("eps", 1e-5f)), momentum_(by.real("momentum", .9f)),
        fixed_(by.number("fixed", 0) != 0), trained_(by.number("trained", 1) != 0) {
    std::string act = by.word("act", "none");
    act_ = act == "relu" ? kRelu : act == "relu6" ? kRelu6 : kLinear;
    shape_ = plan.shape(x_);
    outputs = {y_};
    plan.define(y_, shape_);
    for (int input : {gamma_, beta_, mean_, variance_}) plan.expect(input, {shape_.c});
    // Few channels make short loops: several pixels are treated as one with more channels.
    while (shape_.c * fold_ < 128 && shape_.rows() % (fold_ * 2) == 0) fold_ *= 2;
    width_ = static_cast<int>(shape_.c * fold_), rows_ = shape_.rows() / fold_;
    // The number of partial sums, and so the result, does not depend on that of threads.
    chunk_ = std::max<std::int64_t>(rows_ / 64, std::max<std::int64_t>(16384 / width_, 16));
    chunks_ = (rows_ + chunk_ - 1) / chunk_;
    wide_ = plan.bfloat16() ? 2 : 4;
  }

  void forward(Plan& plan) override {
    std::size_t vector = sizeof(float) * width_;
    affine_ = {plan.temporary(vector), plan.temporary(vector), plan.temporary(vector),
               plan.temporary(vector)};
    partial_ = plan.temporary(2 * vector * chunks_);
    Place x = plan.data(x_), y = plan.data(y_);
    const Kernels* loops = &plan.loops();
    plan.step("norm", {x, y, partial_, affine_.mean, affine_.variance, affine_.scale,
                       affine_.shift}, [this, x, y, loops](Run& run) {
      const char* from = static_cast<char*>(run.at(x));
      if (!fixed_) measure(run, from, *loops);
      combine(run);
      const float *scale = run.floats(affine_.scale), *shift = run.floats(affine_.shift);
      char* to = static_cast<char*>(run.at(y));
      pieces(rows_, piece(), [&](std::int64_t first, std::int64_t last) {
        std::size_t at = first * width_ * wide_;
        loops->normalize(from + at, to + at, last - first, width_, scale, shift, act_);
      });
    });
  }

  void backward(Plan& plan) override {
    if (!plan.has_gradient(y_)) return;
    Place x = plan.data(x_), dy = plan.gradient(y_);
    std::vector<Place> others;
    Place dx;
    bool back_to_x = plan.wants(x_);
    if (back_to_x) {
      others = plan.take_gradients(x_, 2);
      for (const Place& other : others)
        if (plan.alone(other)) dx = other;
      if (!dx) dx = plan.temporary(plan.feature_bytes(shape_));
    }
    others.resize(2);
    bool sums = trained_ || !fixed_;
    Place partial;
    if (sums) partial = plan.temporary(2 * sizeof(float) * width_ * chunks_);
    Place by = plan.temporary(2 * sizeof(float) * width_);
    bool adds = plan.adds_to(gamma_), adds_beta = plan.adds_to(beta_);
    bool again = plan.adds_to(mean_);
    const Kernels* loops = &plan.loops();
    plan.step("norm back", {x, dy, dx, others[0], others[1], partial, by, affine_.mean,
                            affine_.variance, affine_.scale, affine_.shift},
              [=](Run& run) {
      if (sums) {
        collect(run, x, dy, partial, *loops);
        coefficients(run, partial, by, adds, adds_beta);
      } else {  // fixed statistics do not depend on x
        std::memset(run.at(by), 0, 2 * sizeof(float) * width_);
      }
      if (!fixed_) move_statistics(run, again);
      if (back_to_x) spread(run, x, dy, others, dx, by, *loops);
    });
    if (back_to_x) plan.add_gradient(x_, dx);
  }

 private:
  std::int64_t piece() const { return std::max<std::int64_t>(1, 32768 / width_); }

  // Mean and variance of the batch.
  void measure(Run& run, const char* x, const Kernels& loops) {
    float* partial = run.floats(partial_);
    float* origin = run.floats(affine_.scale);  // the first pixel: sums stay small
    loops.blend_in(x, x, 1.f, 0.f, origin, shape_.c);
    repeat(origin);
    parallel(chunks_, [&](std::int64_t i) {
      std::int64_t first = i * chunk_, last = std::min(first + chunk_, rows_);
      float* sum = partial + i * 2 * width_;
      loops.moments(x + first * width_ * wide_, last - first, width_, origin, sum, sum + width_);
    });
    float *mean = run.floats(affine_.mean), *variance = run.floats(affine_.variance);
    double count = static_cast<double>(shape_.rows());
    for (int k = 0; k < shape_.c; ++k) {
      double sum = total(partial, k, 0) / count, square = total(partial, k, 1) / count;
      mean[k] = static_cast<float>(origin[k] + sum);
      variance[k] = static_cast<float>(std::max(square - sum * sum, 0.0));
    }
  }

  // Scale and shift from statistics and parameters.
  void combine(Run& run) {
    const float *gamma = static_cast<float*>(run.inputs[gamma_]);
    const float *beta = static_cast<float*>(run.inputs[beta_]);
    float *mean = run.floats(affine_.mean), *variance = run.floats(affine_.variance);
    float *scale = run.floats(affine_.scale), *shift = run.floats(affine_.shift);
    if (fixed_) {
      std::memcpy(mean, run.inputs[mean_], sizeof(float) * shape_.c);
      std::memcpy(variance, run.inputs[variance_], sizeof(float) * shape_.c);
    }
    for (int k = 0; k < shape_.c; ++k) {
      scale[k] = gamma[k] / std::sqrt(variance[k] + eps_);
      shift[k] = beta[k] - mean[k] * scale[k];
    }
    for (float* values : {mean, scale, shift}) repeat(values);
  }

  // The sum of one channel's partial sums over chunks, and over pixels treated as one.
  double total(const float* partial, int k, int which) const {
    double sum = 0;
    for (std::int64_t i = 0; i < chunks_; ++i)
      for (int j = 0; j < fold_; ++j)
        sum += partial[(2 * i + which) * width_ + j * shape_.c + k];
    return sum;
  }

  void repeat(float* values) const {
    for (int j = 1; j < fold_; ++j)
      std::memcpy(values + j * shape_.c, values, sizeof(float) * shape_.c);
  }

  void collect(Run& run, Place x_, Place dy_, Place partial_, const Kernels& loops) {
    const char *x = static_cast<char*>(run.at(x_)), *dy = static_cast<char*>(run.at(dy_));
    float* partial = run.floats(partial_);
    parallel(chunks_, [&](std::int64_t i) {
      std::int64_t first = i * chunk_, last = std::min(first + chunk_, rows_);
      std::size_t at = first * width_ * wide_;
      float* sum = partial + i * 2 * width_;
      loops.norm_sums(x + at, dy + at, last - first, width_, run.floats(affine_.mean),
                      run.floats(affine_.scale), run.floats(affine_.shift), act_, sum,
                      sum + width_);
    });
  }

  void coefficients(Run& run, Place partial_, Place by, bool adds, bool adds_beta) {
    const float* partial = run.floats(partial_);
    float *of_x = run.floats(by), *constant = of_x + width_;
    float *dgamma = static_cast<float*>(run.gradients[gamma_]);
    float *dbeta = static_cast<float*>(run.gradients[beta_]);
    const float *mean = run.floats(affine_.mean), *variance = run.floats(affine_.variance);
    const float* scale = run.floats(affine_.scale);
    double count = static_cast<double>(shape_.rows());
    for (int k = 0; k < shape_.c; ++k) {
      double sum = total(partial, k, 0), product = total(partial, k, 1);
      double inverse = 1.0 / std::sqrt(static_cast<double>(variance[k]) + eps_);
      float gradient = static_cast<float>(product * inverse), of_beta = static_cast<float>(sum);
      give_gradient(dgamma + k, &gradient, 1, adds);
      give_gradient(dbeta + k, &of_beta, 1, adds_beta);
      double slope = fixed_ ? 0.0 : -scale[k] * product * inverse * inverse / count;
      of_x[k] = static_cast<float>(slope);
      constant[k] = fixed_ ? 0.f : static_cast<float>(-slope * mean[k] - scale[k] * sum / count);
    }
    repeat(of_x);
    repeat(constant);
  }

  // MXNet's BatchNorm moves its statistics in backward too, with the biased variance.
  void move_statistics(Run& run, bool again) {
    const float* batch[2] = {run.floats(affine_.mean), run.floats(affine_.variance)};
    int inputs[2] = {mean_, variance_};
    for (int which = 0; which < 2; ++which) {
      float* to = static_cast<float*>(run.gradients[inputs[which]]);
      const float* from = again ? to : static_cast<float*>(run.inputs[inputs[which]]);
      for (int k = 0; k < shape_.c; ++k)
        to[k] = from[k] * momentum_ + batch[which][k] * (1 - momentum_);
    }
  }

  void spread(Run& run, Place x_, Place dy_, const std::vector<Place>& others, Place dx_, Place by,
              const Kernels& loops) {
    const char *x = static_cast<char*>(run.at(x_)), *dy = static_cast<char*>(run.at(dy_));
    const char *first = static_cast<char*>(run.at(others[0]));
    const char *second = static_cast<char*>(run.at(others[1]));
    char* dx = static_cast<char*>(run.at(dx_));
    const float* of_x = run.floats(by);
    Normalizing with{run.floats(affine_.scale), run.floats(affine_.shift), of_x, of_x + width_};
    pieces(rows_, piece(), [&](std::int64_t begin, std::int64_t end) {
      std::size_t at = begin * width_ * wide_;
      loops.norm_backward(x + at, dy + at, first ? first + at : nullptr,
                          second ? second + at : nullptr, dx + at, end - begin, width_, with,
                          act_);
    });
  }

  int x_, y_, gamma_, beta_, mean_, variance_, act_, width_, fold_ = 1;
  float eps_, momentum_;
  bool fixed_, trained_;
  Shape shape_;
  std::int64_t rows_, chunk_, chunks_;
  std::size_t wide_;
  Affine affine_;
  Place partial_;
};

}  // namespace

std::unique_ptr<Layer> make_norm(Plan& plan, const Instruction& by) {
  return std::make_unique<Norm>(plan, by);
}

}  // namespace native
