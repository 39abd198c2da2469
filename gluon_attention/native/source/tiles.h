// Winograd's transforms of F(4x4, 3x3): a convolution of 3x3 as 36 matrix products.
//
// Each tile of 4x4 outputs needs 6x6 inputs and costs 36 products per pair of channels instead of
// 144. The points are 0, 3/4, -3/4, 3/2, -3/2 and infinity, whose rounding errors are half of those
// of the usual 0, 1, -1, 2, -2: six times those of a direct convolution. tiles.cc is compiled once
// per instruction set, as kernels.cc is. Channels come in multiples of 16, in float32.
#pragma once

namespace native {

constexpr int kTile = 4;     // outputs of a tile along an axis
constexpr int kPoints = 36;  // values of a transformed tile or filter

// A square of pixels of an image (h, w, c), parts of which may lie outside.
struct Patch {
  long h, w;
  int c;
  long top, left;
};

// A transformed value p of channel k is at [p * stride + k].
struct Tiles {
  // Of 6x6 inputs, zero outside the image.
  void (*of_inputs)(const float* image, const Patch& at, float* values, long stride);
  // Of 4x4 gradients of outputs, zero outside.
  void (*of_gradients)(const float* image, const Patch& at, float* values, long stride);
  // Back to 4x4 outputs, plus a bias if that is not null, and a ReLU; those outside are dropped.
  void (*to_outputs)(const float* values, long stride, float* image, const Patch& at,
                     const float* bias, bool relu);
  // Of `count` among n filters, [9][n] to [36][n]; `turned` by half a turn for the backward pass.
  void (*of_filters)(const float* taps, float* values, long n, long count, bool turned);
  // Gradients of `count` among n filters, [36][n] to [9][n].
  void (*to_filters)(const float* values, float* taps, long n, long count);
};

// The transforms for this processor, as far as oneDNN may use its instruction sets.
const Tiles& tiles();

}  // namespace native
