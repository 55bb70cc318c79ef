// See packed.h.
#include "packed.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "../runtime/share.h"

namespace nearlight {
namespace {

// What a thread reads at once: it still lies in the second cache when it is summed up right after.
constexpr size_t kChunk = size_t{256} << 10;

// Eight sums side by side, since one alone would wait for its multiplications. Each step is one-to-one in the word and
// in the sum before, so a single changed word never goes unnoticed.
uint64_t sum_up(const std::byte* data, size_t n_bytes, uint64_t seed) {
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio
  const auto mix = [](uint64_t sum, uint64_t word) {
    sum = (sum ^ word) * kOdd;
    return sum ^ sum >> 29;
  };
  uint64_t sums[8], words[8];
  for (uint64_t i = 0; i < 8; i++) sums[i] = mix(seed, i);
  size_t done = 0;
  for (; done + sizeof words <= n_bytes; done += sizeof words) {
    std::memcpy(words, data + done, sizeof words);
    for (int i = 0; i < 8; i++) sums[i] = mix(sums[i], words[i]);
  }
  std::memset(words, 0, sizeof words);
  if (done < n_bytes) std::memcpy(words, data + done, n_bytes - done);
  uint64_t whole = n_bytes;
  for (int i = 0; i < 8; i++) whole = mix(whole, mix(sums[i], words[i]));
  return whole;
}

// One of the chunks that matrices are cut into, so that threads get equal work whatever the sizes are.
struct Chunk {
  size_t matrix, begin, n_bytes;
};

std::vector<Chunk> cut(const std::vector<size_t>& sizes) {
  std::vector<Chunk> chunks;
  for (size_t m = 0; m < sizes.size(); m++) {
    for (size_t begin = 0; begin < sizes[m]; begin += kChunk) {
      chunks.push_back({m, begin, std::min(kChunk, sizes[m] - begin)});
    }
  }
  return chunks;
}

uint64_t sum_of(const PackedMatrix& packed, const Chunk& chunk) {
  return sum_up(packed.memory.get() + chunk.begin, chunk.n_bytes, chunk.begin);
}

// 0, or the error; a file that ends too early is EIO.
int read_fully(int file, std::byte* to, size_t n_bytes, int64_t offset) {
  while (n_bytes) {
    const ssize_t n = pread(file, to, n_bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n ? errno : EIO;
    to += n, offset += n, n_bytes -= static_cast<size_t>(n);
  }
  return 0;
}

}  // namespace

std::shared_ptr<PackedMatrix> new_matrix(Runtime& runtime, std::string name, Format format, int64_t n_out,
                                         int64_t n_in) {
  auto packed = std::make_shared<PackedMatrix>(PackedMatrix{std::move(name), describe(format, n_out, n_in), nullptr});
  const std::lock_guard lock(runtime.mutex);
  packed->memory = runtime.slabs.allocate(packed->matrix.n_bytes());
  packed->matrix.data = reinterpret_cast<uint8_t*>(packed->memory.get());
  return packed;
}

std::shared_ptr<PackedMatrix> view_of(const PackedMatrix& packed, int64_t first_row, int64_t end_row) {
  std::string name = packed.name + "[" + std::to_string(first_row) + ":" + std::to_string(end_row) + "]";
  const Matrix rows = view(packed.matrix, first_row, end_row);
  return std::make_shared<PackedMatrix>(PackedMatrix{std::move(name), rows, packed.memory, true});
}

int64_t pack_rows(Runtime& runtime, PackedMatrix& packed, int64_t first_row, int64_t n_rows, const uint8_t* rows,
                  size_t row_stride) {
  const std::lock_guard lock(runtime.mutex);
  std::atomic<int64_t> first_bad{-1};
  const int64_t first_tile = first_row / kLanes, n_tiles = (n_rows + kLanes - 1) / kLanes;
  runtime.pool.run([&](int thread) {
    const Share mine = share(n_tiles, thread, runtime.pool.n_threads());
    const uint8_t* from = rows + static_cast<size_t>(mine.begin * kLanes) * row_stride;
    const int64_t bad = pack(packed.matrix, from, row_stride, first_tile + mine.begin, first_tile + mine.end);
    int64_t known = first_bad.load();
    while (bad >= 0 && (known < 0 || bad < known) && !first_bad.compare_exchange_weak(known, bad)) {
    }
  });
  return first_bad.load();
}

uint64_t checksum(const PackedMatrix& packed) {
  uint64_t sum = 0;
  for (const Chunk& chunk : cut({packed.matrix.n_bytes()})) sum += sum_of(packed, chunk);
  return sum;
}

std::vector<uint64_t> read_packed(Runtime& runtime, int file, const std::vector<std::shared_ptr<PackedMatrix>>& into,
                                  const std::vector<int64_t>& offsets) {
  std::vector<size_t> sizes;
  for (const auto& packed : into) sizes.push_back(packed->matrix.n_bytes());
  const std::vector<Chunk> chunks = cut(sizes);
  if (chunks.empty()) return {};
  std::vector<std::atomic<uint64_t>> sums(into.size());
  std::atomic<int> failure{0};
  {
    const std::lock_guard lock(runtime.mutex);
    runtime.pool.run({static_cast<uint32_t>(chunks.size())}, [&](size_t, uint32_t i, int) {
      const Chunk& chunk = chunks[i];
      const PackedMatrix& packed = *into[chunk.matrix];
      const int64_t from = offsets[chunk.matrix] + static_cast<int64_t>(chunk.begin);
      const int error = read_fully(file, packed.memory.get() + chunk.begin, chunk.n_bytes, from);
      if (error) failure = error;
      sums[chunk.matrix] += sum_of(packed, chunk);
    });
  }
  if (failure) throw std::runtime_error(std::strerror(failure));
  return {sums.begin(), sums.end()};
}

uint64_t packed_fingerprint() {
  constexpr int64_t kOut = 2 * kLanes + 5, kIn = 512;  // a last tile that is not full
  uint64_t fingerprint = 0;
  for (int f = 0; f < kFormats; f++) {
    const auto format = static_cast<Format>(f);
    Matrix matrix = describe(format, kOut, kIn);
    std::vector<std::byte> packed(matrix.n_bytes());
    std::vector<uint8_t> rows(static_cast<size_t>(kOut) * stored_row_bytes(format, kIn));
    uint32_t state = 1;
    for (uint8_t& byte : rows) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<uint8_t>(state >> 24);
    }
    matrix.data = reinterpret_cast<uint8_t*>(packed.data());
    pack(matrix, rows.data(), stored_row_bytes(format, kIn), 0, matrix.n_tiles);
    fingerprint += sum_up(packed.data(), packed.size(), static_cast<uint64_t>(f));
  }
  return fingerprint;
}

}  // namespace nearlight
