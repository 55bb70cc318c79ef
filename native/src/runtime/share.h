// Dividing work: equal consecutive shares.
#pragma once

#include <cstdint>

namespace nearlight {

struct Share {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Piece `piece` of n_pieces of n equal units of work. Pieces differ by one unit at most, the first being the larger.
inline Share share(int64_t n, int64_t piece, int64_t n_pieces) {
  return {(n * piece + n_pieces - 1) / n_pieces, (n * (piece + 1) + n_pieces - 1) / n_pieces};
}

}  // namespace nearlight
