// The loops of kernels.h. This file is compiled several times, with -DLEVEL=name and the flags of
// an instruction set; it includes nothing whose inline functions could end up in two of them.
#include "kernels.h"

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

namespace {

typedef unsigned short bfloat;

inline float load(const float* p) { return *p; }
inline float load(const bfloat* p) {
  unsigned bits = static_cast<unsigned>(*p) << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
inline void put(float* p, float value) { *p = value; }
inline void put(bfloat* p, float value) {  // to the nearest, ties to even
  unsigned bits;
  __builtin_memcpy(&bits, &value, 4);
  *p = static_cast<bfloat>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Passes through NaN. Relative error below 3e-7.
inline float exponential(float x) {
  x = x < -87.f ? -87.f : x;
  x = x > 87.f ? 87.f : x;
  float t = x * 1.44269504f;
  int whole = static_cast<int>(t + (t < 0 ? -.5f : .5f));
  float n = static_cast<float>(whole);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  int bits = (whole + 127) << 23;
  float power;
  __builtin_memcpy(&power, &bits, 4);
  return p * power;
}
inline float logistic(float x) { return 1.f / (1.f + exponential(-x)); }

using native::kRelu;
using native::kRelu6;

template <int act>
inline float activate(float z) {
  if (act) z = z > 0.f ? z : (z != z ? z : 0.f);  // NaN stays
  if (act == kRelu6) z = z < 6.f ? z : (z != z ? z : 6.f);
  return z;
}
template <int act>
inline float pass(float z, float g) {
  if (act) g = z > 0.f ? g : 0.f;
  if (act == kRelu6) g = z < 6.f ? g : 0.f;
  return g;
}

template <class T>
void moments(const void* x_, long rows, int c, const float* __restrict shift,
             float* __restrict sum, float* __restrict square) {
  const T* x = static_cast<const T*>(x_);
  for (int k = 0; k < c; ++k) sum[k] = square[k] = 0.f;
  long i = 0;
  for (; i + 4 <= rows; i += 4, x += 4L * c)
    for (int k = 0; k < c; ++k) {
      float p = load(x + k) - shift[k], q = load(x + c + k) - shift[k];
      float r = load(x + 2L * c + k) - shift[k], s = load(x + 3L * c + k) - shift[k];
      sum[k] += (p + q) + (r + s);
      square[k] += (p * p + q * q) + (r * r + s * s);
    }
  for (; i < rows; ++i, x += c)
    for (int k = 0; k < c; ++k) {
      float p = load(x + k) - shift[k];
      sum[k] += p;
      square[k] += p * p;
    }
}

template <class T, int act>
void normalize_as(const T* __restrict x, T* __restrict y, long rows, int c,
                  const float* __restrict scale, const float* __restrict shift) {
  for (long i = 0; i < rows; ++i, x += c, y += c)
    for (int k = 0; k < c; ++k) put(y + k, activate<act>(load(x + k) * scale[k] + shift[k]));
}
template <class T>
void normalize(const void* x_, void* y_, long rows, int c, const float* scale, const float* shift,
               int act) {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  if (act == kRelu) normalize_as<T, kRelu>(x, y, rows, c, scale, shift);
  else if (act == kRelu6) normalize_as<T, kRelu6>(x, y, rows, c, scale, shift);
  else normalize_as<T, 0>(x, y, rows, c, scale, shift);
}

template <class T, int act>
void norm_sums_as(const T* __restrict x, const T* __restrict dy, long rows, int c,
                  const float* __restrict mean, const float* __restrict scale,
                  const float* __restrict shift, float* __restrict sum,
                  float* __restrict product) {
  for (int k = 0; k < c; ++k) sum[k] = product[k] = 0.f;
  long i = 0;
  for (; i + 2 <= rows; i += 2, x += 2L * c, dy += 2L * c)
    for (int k = 0; k < c; ++k) {
      float p = load(x + k), q = load(x + c + k);
      float g = pass<act>(p * scale[k] + shift[k], load(dy + k));
      float h = pass<act>(q * scale[k] + shift[k], load(dy + c + k));
      sum[k] += g + h;
      product[k] += g * (p - mean[k]) + h * (q - mean[k]);
    }
  for (; i < rows; ++i, x += c, dy += c)
    for (int k = 0; k < c; ++k) {
      float p = load(x + k), g = pass<act>(p * scale[k] + shift[k], load(dy + k));
      sum[k] += g;
      product[k] += g * (p - mean[k]);
    }
}
template <class T>
void norm_sums(const void* x_, const void* dy_, long rows, int c, const float* mean,
               const float* scale, const float* shift, int act, float* sum, float* product) {
  const T *x = static_cast<const T*>(x_), *dy = static_cast<const T*>(dy_);
  if (act == kRelu) norm_sums_as<T, kRelu>(x, dy, rows, c, mean, scale, shift, sum, product);
  else if (act == kRelu6)
    norm_sums_as<T, kRelu6>(x, dy, rows, c, mean, scale, shift, sum, product);
  else norm_sums_as<T, 0>(x, dy, rows, c, mean, scale, shift, sum, product);
}

// dx may be first: each number is read before it is written.
template <class T, int act, int more>
void norm_backward_as(const T* x, const T* dy, const T* first, const T* second, T* dx, long rows,
                      int c, const native::Normalizing& by) {
  const float* __restrict scale = by.scale;
  const float* __restrict shift = by.shift;
  const float* __restrict of_x = by.of_x;
  const float* __restrict constant = by.constant;
  for (long i = 0; i < rows; ++i, x += c, dy += c, dx += c) {
#pragma GCC ivdep
    for (int k = 0; k < c; ++k) {
      float p = load(x + k), g = pass<act>(p * scale[k] + shift[k], load(dy + k));
      float d = scale[k] * g + (of_x[k] * p + constant[k]);
      if (more > 0) d += load(first + k);
      if (more > 1) d += load(second + k);
      put(dx + k, d);
    }
    if (more > 0) first += c;
    if (more > 1) second += c;
  }
}
template <class T, int act>
void norm_backward_act(const T* x, const T* dy, const T* first, const T* second, T* dx, long rows,
                       int c, const native::Normalizing& by) {
  if (second) norm_backward_as<T, act, 2>(x, dy, first, second, dx, rows, c, by);
  else if (first) norm_backward_as<T, act, 1>(x, dy, first, second, dx, rows, c, by);
  else norm_backward_as<T, act, 0>(x, dy, first, second, dx, rows, c, by);
}
template <class T>
void norm_backward(const void* x_, const void* dy_, const void* first_, const void* second_,
                   void* dx_, long rows, int c, const native::Normalizing& by, int act) {
  const T *x = static_cast<const T*>(x_), *dy = static_cast<const T*>(dy_);
  const T *first = static_cast<const T*>(first_), *second = static_cast<const T*>(second_);
  T* dx = static_cast<T*>(dx_);
  if (act == kRelu) norm_backward_act<T, kRelu>(x, dy, first, second, dx, rows, c, by);
  else if (act == kRelu6) norm_backward_act<T, kRelu6>(x, dy, first, second, dx, rows, c, by);
  else norm_backward_act<T, 0>(x, dy, first, second, dx, rows, c, by);
}

template <class T, int act>
void add_as(const T* a, const T* b, T* y, long n) {
#pragma GCC ivdep
  for (long i = 0; i < n; ++i) put(y + i, activate<act>(load(a + i) + load(b + i)));
}
template <class T>
void add(const void* a_, const void* b_, void* y_, long n, int act) {
  const T *a = static_cast<const T*>(a_), *b = static_cast<const T*>(b_);
  T* y = static_cast<T*>(y_);
  if (act == kRelu) add_as<T, kRelu>(a, b, y, n);
  else add_as<T, 0>(a, b, y, n);
}
template <class T>
void mask_by(const void* y_, const void* dy_, void* dx_, long n, int act) {
  const T *y = static_cast<const T*>(y_), *dy = static_cast<const T*>(dy_);
  T* dx = static_cast<T*>(dx_);
  float top = act == kRelu6 ? 6.f : 3.4e38f;
#pragma GCC ivdep
  for (long i = 0; i < n; ++i) {
    float v = load(y + i);
    put(dx + i, v > 0.f && v < top ? load(dy + i) : 0.f);
  }
}

template <class T>
void sigmoid(const void* z_, void* m_, long n) {
  const T* __restrict z = static_cast<const T*>(z_);
  T* __restrict m = static_cast<T*>(m_);
  for (long i = 0; i < n; ++i) put(m + i, logistic(load(z + i)));
}
template <class T>
void sigmoid_backward(const void* m_, const void* dm_, void* dz_, long n) {
  const T *m = static_cast<const T*>(m_), *dm = static_cast<const T*>(dm_);
  T* dz = static_cast<T*>(dz_);
#pragma GCC ivdep
  for (long i = 0; i < n; ++i) {
    float s = load(m + i);
    put(dz + i, load(dm + i) * s * (1.f - s));
  }
}
template <class T>
void weigh(const void* m_, const void* t_, void* y_, long n, float more) {
  const T* __restrict m = static_cast<const T*>(m_);
  const T* __restrict t = static_cast<const T*>(t_);
  T* __restrict y = static_cast<T*>(y_);
  for (long i = 0; i < n; ++i) put(y + i, load(t + i) * (load(m + i) + more));
}
template <class T>
void weigh_backward(const void* m_, const void* t_, const void* dy_, void* dt_, void* dm_, long n,
                    float more) {
  const T* __restrict m = static_cast<const T*>(m_);
  const T* __restrict t = static_cast<const T*>(t_);
  const T* __restrict dy = static_cast<const T*>(dy_);
  T* __restrict dt = static_cast<T*>(dt_);
  T* __restrict dm = static_cast<T*>(dm_);
  for (long i = 0; i < n; ++i) {
    float g = load(dy + i);
    put(dm + i, g * load(t + i));
    put(dt + i, g * (load(m + i) + more));
  }
}
template <class T>
void sigmoid_weigh(const void* z_, const void* t_, void* m_, void* y_, long n, float more) {
  const T* __restrict z = static_cast<const T*>(z_);
  const T* __restrict t = static_cast<const T*>(t_);
  T* __restrict m = static_cast<T*>(m_);
  T* __restrict y = static_cast<T*>(y_);
  for (long i = 0; i < n; ++i) {
    float s = logistic(load(z + i));
    put(m + i, s);
    put(y + i, load(t + i) * (s + more));
  }
}
template <class T>
void sigmoid_weigh_backward(const void* m_, const void* t_, const void* dy_, void* dt_, void* dz_,
                            long n, float more) {
  const T* __restrict m = static_cast<const T*>(m_);
  const T* __restrict t = static_cast<const T*>(t_);
  const T* __restrict dy = static_cast<const T*>(dy_);
  T* __restrict dt = static_cast<T*>(dt_);
  T* __restrict dz = static_cast<T*>(dz_);
  for (long i = 0; i < n; ++i) {
    float g = load(dy + i), s = load(m + i);
    put(dz + i, g * load(t + i) * s * (1.f - s));
    put(dt + i, g * (s + more));
  }
}

// Sixteen partial sums, so that the order does not depend on the instruction set.
template <class T>
inline float dot(const T* a, const T* b, int c) {
  float part[16] = {0.f};
  int k = 0;
  for (; k + 16 <= c; k += 16)
    for (int j = 0; j < 16; ++j) part[j] += load(a + k + j) * load(b + k + j);
  float rest = 0.f;
  for (; k < c; ++k) rest += load(a + k) * load(b + k);
  for (int j = 0; j < 16; ++j) rest += part[j];
  return rest;
}
template <class T>
void unit_rows(const void* z_, void* m_, float* inverse, long rows, int c) {
  const T* z = static_cast<const T*>(z_);
  T* m = static_cast<T*>(m_);
  for (long i = 0; i < rows; ++i, z += c, m += c) {
    float scale = 1.f / __builtin_sqrtf(dot(z, z, c) + 1e-10f);
    inverse[i] = scale;
#pragma GCC ivdep
    for (int k = 0; k < c; ++k) put(m + k, load(z + k) * scale);
  }
}
template <class T>
void unit_rows_backward(const void* m_, const void* dm_, const float* inverse, void* dz_,
                        long rows, int c) {
  const T *m = static_cast<const T*>(m_), *dm = static_cast<const T*>(dm_);
  T* dz = static_cast<T*>(dz_);
  for (long i = 0; i < rows; ++i, m += c, dm += c, dz += c) {
    float along = dot(m, dm, c), scale = inverse[i];
#pragma GCC ivdep
    for (int k = 0; k < c; ++k) put(dz + k, (load(dm + k) - load(m + k) * along) * scale);
  }
}

template <class T>
void blend_in(const void* a_, const void* b_, float wa, float wb, float* __restrict y, long n) {
  const T *a = static_cast<const T*>(a_), *b = static_cast<const T*>(b_);
  for (long i = 0; i < n; ++i) y[i] = wa * load(a + i) + wb * load(b + i);
}
template <class T>
void blend_out(const float* a, const float* b, float wa, float wb, void* y_, long n) {
  T* __restrict y = static_cast<T*>(y_);
  for (long i = 0; i < n; ++i) put(y + i, wa * a[i] + wb * b[i]);
}
template <class T>
void gather_in(const void* x_, float w, float* __restrict y, long n) {
  const T* x = static_cast<const T*>(x_);
  for (long i = 0; i < n; ++i) y[i] += w * load(x + i);
}
void gather(const float* __restrict x, float w, float* __restrict y, long n) {
  for (long i = 0; i < n; ++i) y[i] += w * x[i];
}
template <class T>
void store(const float* __restrict x, void* y_, long n) {
  T* __restrict y = static_cast<T*>(y_);
  for (long i = 0; i < n; ++i) put(y + i, x[i]);
}
template <class T>
void spread(const float* __restrict x, float w, void* y_, long rows, int c) {
  T* __restrict y = static_cast<T*>(y_);
  for (long i = 0; i < rows; ++i, y += c)
    for (int k = 0; k < c; ++k) put(y + k, w * x[k]);
}

template <class T>
constexpr native::Kernels all() {
  return {moments<T>, normalize<T>, norm_sums<T>, norm_backward<T>, add<T>, mask_by<T>,
          sigmoid<T>, sigmoid_backward<T>, weigh<T>, weigh_backward<T>, sigmoid_weigh<T>,
          sigmoid_weigh_backward<T>, unit_rows<T>, unit_rows_backward<T>, blend_in<T>,
          blend_out<T>, gather_in<T>, gather, store<T>, spread<T>};
}

const native::Kernels both[2] = {all<float>(), all<bfloat>()};

}  // namespace

namespace native {
const Kernels* PASTE(kernels_, LEVEL)() { return both; }
}  // namespace native
