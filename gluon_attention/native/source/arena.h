// Memory of one run of a plan, which the next run uses again.
#pragma once

#include <cstddef>

namespace native {

// Aligned memory for features, gradients and temporaries; its destructor returns it to the pool.
class Arena {
 public:
  Arena() = default;
  explicit Arena(std::size_t bytes);
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  char* base() const { return base_; }
  explicit operator bool() const { return base_ != nullptr; }

 private:
  char* base_ = nullptr;
  std::size_t bytes_ = 0;
};

// Bytes of all arenas, in use and free.
std::size_t arena_bytes();

}  // namespace native
