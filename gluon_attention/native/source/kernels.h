// Inner loops that oneDNN lacks, over features in NHWC of float32 or bfloat16.
//
// kernels.cc is compiled once per instruction set; kernels() chooses at run time. Every function
// works on one thread: the caller divides the work. `rows` are pixels, `c` channels; everything
// per channel is float32.
#pragma once

namespace native {

enum Activation { kLinear = 0, kRelu = 1, kRelu6 = 2 };

struct Normalizing {  // coefficients per channel of a normalization's backward pass
  const float* scale;  // y = act(x * scale + shift)
  const float* shift;
  const float* of_x;  // dx = scale * g + of_x * x + constant
  const float* constant;
};

struct Kernels {
  // Sums of (x - shift) and of its square.
  void (*moments)(const void* x, long rows, int c, const float* shift, float* sum, float* square);
  // y = act(x * scale + shift)
  void (*normalize)(const void* x, void* y, long rows, int c, const float* scale,
                    const float* shift, int act);
  // With g = dy, or 0 where act set y to 0: sums of g and of g * (x - mean).
  void (*norm_sums)(const void* x, const void* dy, long rows, int c, const float* mean,
                    const float* scale, const float* shift, int act, float* sum, float* product);
  // dx as `Normalizing` says, plus first and second where they are not null.
  void (*norm_backward)(const void* x, const void* dy, const void* first, const void* second,
                        void* dx, long rows, int c, const Normalizing& by, int act);
  // y = act(a + b)
  void (*add)(const void* a, const void* b, void* y, long n, int act);
  // dx = dy where act returned y unchanged, else 0
  void (*mask_by)(const void* y, const void* dy, void* dx, long n, int act);
  // m = sigmoid(z)
  void (*sigmoid)(const void* z, void* m, long n);
  // dz = dm * m * (1 - m)
  void (*sigmoid_backward)(const void* m, const void* dm, void* dz, long n);
  // y = t * (m + more), more being 1 for residual attention and 0 for naive
  void (*weigh)(const void* m, const void* t, void* y, long n, float more);
  // dt = dy * (m + more), dm = dy * t
  void (*weigh_backward)(const void* m, const void* t, const void* dy, void* dt, void* dm, long n,
                         float more);
  // Both of the above in one pass: m = sigmoid(z), y = t * (m + more)
  void (*sigmoid_weigh)(const void* z, const void* t, void* m, void* y, long n, float more);
  // dt = dy * (m + more), dz = dy * t * m * (1 - m)
  void (*sigmoid_weigh_backward)(const void* m, const void* t, const void* dy, void* dt, void* dz,
                                 long n, float more);
  // m = z / |z|, of each row over its channels; the inverse norms are kept
  void (*unit_rows)(const void* z, void* m, float* inverse, long rows, int c);
  void (*unit_rows_backward)(const void* m, const void* dm, const float* inverse, void* dz,
                             long rows, int c);
  // y = wa * a + wb * b, to and from float32
  void (*blend_in)(const void* a, const void* b, float wa, float wb, float* y, long n);
  void (*blend_out)(const float* a, const float* b, float wa, float wb, void* y, long n);
  // y += w * x
  void (*gather_in)(const void* x, float w, float* y, long n);
  void (*gather)(const float* x, float w, float* y, long n);
  void (*store)(const float* x, void* y, long n);
  // Copies x to every row: y[row] = x
  void (*spread)(const float* x, float w, void* y, long rows, int c);
};

// The loops for this processor, within the instruction set that ONEDNN_MAX_CPU_ISA allows.
const Kernels& kernels(bool bfloat16);

}  // namespace native
