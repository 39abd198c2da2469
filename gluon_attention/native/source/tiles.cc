// The transforms of tiles.h, sixteen channels at a time. As kernels.cc this includes nothing whose
// inline functions could end up in two instruction sets.
#include "tiles.h"

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

namespace {

constexpr int kLanes = 16;
typedef float Lanes __attribute__((vector_size(4 * kLanes)));

inline void read(const float* p, Lanes* to) { __builtin_memcpy(to, p, sizeof *to); }
inline void write(const Lanes& from, float* p) { __builtin_memcpy(p, &from, sizeof from); }

constexpr float a = .75f, b = 1.5f, aa = a * a, bb = b * b;
constexpr float of_0 = 1 / (aa * bb), of_a = 1 / (2 * aa * (aa - bb));
constexpr float of_b = 1 / (2 * bb * (bb - aa));

// Each reads `from` values at a stride, and writes `to` values.
struct Inputs {
  static constexpr int from = 6, to = 6;
  static void apply(const Lanes* x, int step, Lanes* y, int apart) {
    const Lanes &x1 = x[step], &x2 = x[2 * step], &x3 = x[3 * step], &x4 = x[4 * step];
    y[0] = aa * bb * x[0] - (aa + bb) * x2 + x4;
    Lanes even = x4 - bb * x2, odd = a * (x3 - bb * x1);
    y[apart] = even + odd, y[2 * apart] = even - odd;
    even = x4 - aa * x2, odd = b * (x3 - aa * x1);
    y[3 * apart] = even + odd, y[4 * apart] = even - odd;
    y[5 * apart] = aa * bb * x1 - (aa + bb) * x3 + x[5 * step];
  }
};
struct Gradients {
  static constexpr int from = 4, to = 6;
  static void apply(const Lanes* x, int step, Lanes* y, int apart) {
    const Lanes &x0 = x[0], &x1 = x[step], &x2 = x[2 * step], &x3 = x[3 * step];
    Lanes even = x0 + aa * x2, odd = a * (x1 + aa * x3);
    y[0] = x0, y[apart] = even + odd, y[2 * apart] = even - odd;
    even = x0 + bb * x2, odd = b * (x1 + bb * x3);
    y[3 * apart] = even + odd, y[4 * apart] = even - odd, y[5 * apart] = x3;
  }
};
struct Outputs {
  static constexpr int from = 6, to = 4;
  static void apply(const Lanes* x, int step, Lanes* y, int apart) {
    Lanes even = x[step] + x[2 * step], odd = a * (x[step] - x[2 * step]);
    Lanes even_b = x[3 * step] + x[4 * step], odd_b = b * (x[3 * step] - x[4 * step]);
    y[0] = x[0] + even + even_b;
    y[apart] = odd + odd_b;
    y[2 * apart] = aa * even + bb * even_b;
    y[3 * apart] = aa * odd + bb * odd_b + x[5 * step];
  }
};
struct Filters {
  static constexpr int from = 3, to = 6;
  static void apply(const Lanes* x, int step, Lanes* y, int apart) {
    const Lanes &x0 = x[0], &x1 = x[step], &x2 = x[2 * step];
    Lanes even = of_a * (x0 + aa * x2), odd = of_a * a * x1;
    y[0] = of_0 * x0, y[apart] = even + odd, y[2 * apart] = even - odd;
    even = of_b * (x0 + bb * x2), odd = of_b * b * x1;
    y[3 * apart] = even + odd, y[4 * apart] = even - odd, y[5 * apart] = x2;
  }
};
struct FilterGradients {
  static constexpr int from = 6, to = 3;
  static void apply(const Lanes* x, int step, Lanes* y, int apart) {
    Lanes even = of_a * (x[step] + x[2 * step]), odd = of_a * a * (x[step] - x[2 * step]);
    Lanes even_b = of_b * (x[3 * step] + x[4 * step]);
    Lanes odd_b = of_b * b * (x[3 * step] - x[4 * step]);
    y[0] = of_0 * x[0] + even + even_b;
    y[apart] = odd + odd_b;
    y[2 * apart] = aa * even + bb * even_b + x[5 * step];
  }
};

template <class Axis>
inline void both_axes(const Lanes* x, Lanes* y) {
  Lanes half[Axis::to * Axis::from];
  for (int j = 0; j < Axis::from; ++j) Axis::apply(x + j, Axis::from, half + j, Axis::from);
  for (int i = 0; i < Axis::to; ++i) Axis::apply(half + i * Axis::from, 1, y + i * Axis::to, 1);
}

// Pointers to the pixels of a square; null outside the image.
template <int side, class T>
inline void find(T* image, const native::Patch& at, T** pixels) {
  for (int i = 0; i < side; ++i)
    for (int j = 0; j < side; ++j) {
      long row = at.top + i, column = at.left + j;
      bool inside = row >= 0 && row < at.h && column >= 0 && column < at.w;
      pixels[i * side + j] = inside ? image + (row * at.w + column) * at.c : nullptr;
    }
}

template <class Axis>
void of_pixels(const float* image, const native::Patch& at, float* values, long stride) {
  constexpr int count = Axis::from * Axis::from;
  const float* pixels[count];
  find<Axis::from>(image, at, pixels);
  for (int k = 0; k < at.c; k += kLanes) {
    Lanes x[count], y[native::kPoints];
    for (int p = 0; p < count; ++p) {
      if (pixels[p]) read(pixels[p] + k, x + p);
      else x[p] = Lanes{};
    }
    both_axes<Axis>(x, y);
    for (int p = 0; p < native::kPoints; ++p) write(y[p], values + p * stride + k);
  }
}

void to_outputs(const float* values, long stride, float* image, const native::Patch& at,
                const float* bias, bool relu) {
  constexpr int count = Outputs::to * Outputs::to;
  float* pixels[count];
  find<Outputs::to>(image, at, pixels);
  for (int k = 0; k < at.c; k += kLanes) {
    Lanes x[native::kPoints], y[count];
    for (int p = 0; p < native::kPoints; ++p) read(values + p * stride + k, x + p);
    both_axes<Outputs>(x, y);
    Lanes more{};
    if (bias) read(bias + k, &more);
    for (int p = 0; p < count; ++p) {
      y[p] += more;
      if (relu) y[p] = y[p] < 0.f ? Lanes{} : y[p];  // NaN stays
      if (pixels[p]) write(y[p], pixels[p] + k);
    }
  }
}

void of_filters(const float* taps, float* values, long n, long count, bool turned) {
  for (long k = 0; k < count; k += kLanes) {
    Lanes x[9], y[native::kPoints];
    for (int p = 0; p < 9; ++p) read(taps + (turned ? 8 - p : p) * n + k, x + p);
    both_axes<Filters>(x, y);
    for (int p = 0; p < native::kPoints; ++p) write(y[p], values + p * n + k);
  }
}

void to_filters(const float* values, float* taps, long n, long count) {
  for (long k = 0; k < count; k += kLanes) {
    Lanes x[native::kPoints], y[9];
    for (int p = 0; p < native::kPoints; ++p) read(values + p * n + k, x + p);
    both_axes<FilterGradients>(x, y);
    for (int p = 0; p < 9; ++p) write(y[p], taps + p * n + k);
  }
}

const native::Tiles all = {of_pixels<Inputs>, of_pixels<Gradients>, to_outputs, of_filters,
                           to_filters};

}  // namespace

namespace native {
const Tiles* PASTE(tiles_, LEVEL)() { return &all; }
}  // namespace native
