// Packed matrices: made from stored rows, or read back from a file that keeps them.
//
// Repacking costs more than reading the result again, so that is kept on disk (nearlight/kernels/cpu/packed.py has the
// file). Either way a matrix is made first, with memory whose content is undefined, and then filled on all threads:
// memory is touched, and so taken, by those who write it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../matmul.h"
#include "../runtime/runtime.h"

namespace nearlight {

// A packed matrix and the memory it lies in, which views share.
struct PackedMatrix {
  std::string name;
  Matrix matrix;
  std::shared_ptr<std::byte[]> memory;
  bool is_view = false;
};

using MatrixRef = std::shared_ptr<const PackedMatrix>;

std::shared_ptr<PackedMatrix> new_matrix(Runtime& runtime, std::string name, Format format, int64_t n_out,
                                         int64_t n_in);

// Rows first_row .. end_row-1 of a matrix, where they lie. `first_row` is a multiple of view_granularity.
std::shared_ptr<PackedMatrix> view_of(const PackedMatrix& packed, int64_t first_row, int64_t end_row);

// Repacks stored rows, as many as are in whole tiles or reach the last row, to where row `first_row` belongs, a
// multiple of kLanes. Returns the first row with a scale that is not finite, or -1.
int64_t pack_rows(Runtime& runtime, PackedMatrix& packed, int64_t first_row, int64_t n_rows, const uint8_t* rows,
                  size_t row_stride);

// A number that any change of a matrix's bytes changes. One changed byte always does, more do all but surely; it is a
// guard against damage, not against forgery.
uint64_t checksum(const PackedMatrix& packed);

// Fills matrices with packed bytes from `file`, an open descriptor, each from its own offset on. Returns their
// checksums. Raises std::runtime_error when the file ends too early or cannot be read.
std::vector<uint64_t> read_packed(Runtime& runtime, int file, const std::vector<std::shared_ptr<PackedMatrix>>& into,
                                  const std::vector<int64_t>& offsets);

// What packing makes of a fixed pattern of bytes, for all formats together: another layout gives another number.
uint64_t packed_fingerprint();

}  // namespace nearlight
