#include "arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace native {

namespace {

struct Block {
  char* base;
  std::size_t bytes;
};

struct Pool {
  std::mutex mutex;
  std::vector<Block> free_blocks;
  std::size_t bytes = 0;
};

// Never destroyed: MXNet destroys states after static destructors ran.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

constexpr std::size_t kPage = std::size_t{2} << 20;

Block map(std::size_t bytes) {
  bytes = (bytes + kPage - 1) / kPage * kPage;
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, bytes, MADV_HUGEPAGE);  // fewer misses of the TLB; failure does no harm
  return {static_cast<char*>(memory), bytes};
}

}  // namespace

// A free block is used if it is large enough, so the last, smaller batch of an epoch runs in the
// memory of the others. Blocks that are too small belong to an earlier shape.
Arena::Arena(std::size_t bytes) {
  Pool& all = pool();
  std::lock_guard<std::mutex> lock(all.mutex);
  auto fits = std::find_if(all.free_blocks.begin(), all.free_blocks.end(),
                           [bytes](const Block& block) { return block.bytes >= bytes; });
  if (fits == all.free_blocks.end()) {
    for (const Block& block : all.free_blocks) {
      munmap(block.base, block.bytes);
      all.bytes -= block.bytes;
    }
    all.free_blocks.clear();
    Block block = map(std::max<std::size_t>(bytes, 1));
    base_ = block.base, bytes_ = block.bytes;
    all.bytes += bytes_;
  } else {
    base_ = fits->base, bytes_ = fits->bytes;
    all.free_blocks.erase(fits);
  }
}

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Arena::~Arena() {
  if (!base_) return;
  Pool& all = pool();
  std::lock_guard<std::mutex> lock(all.mutex);
  auto larger = std::find_if(all.free_blocks.begin(), all.free_blocks.end(),
                             [this](const Block& block) { return block.bytes >= bytes_; });
  all.free_blocks.insert(larger, {base_, bytes_});  // smallest first
}

std::size_t arena_bytes() {
  std::lock_guard<std::mutex> lock(pool().mutex);
  return pool().bytes;
}

}  // namespace native
