// How commands that work head by head are cut: a single row by its heads, more rows by rows.
#pragma once

#include "../runtime/share.h"
#include "../runtime/tape.h"

namespace nearlight {

struct HeadCut {
  bool by_head;
  int64_t n_rows, n_heads, n_pieces;

  HeadCut(const Tape& tape, int64_t rows, int64_t heads)
      : by_head(rows == 1), n_rows(rows), n_heads(heads),
        n_pieces(by_head ? tape.head_pieces(heads) : tape.row_pieces(rows)) {}

  // Command::n_rows: pieces of other commands cut alike touch nothing of each other's.
  int64_t row_wise() const { return by_head ? n_pieces : n_rows; }

  // What a piece computes: these heads of each of these rows.
  Share rows(int64_t piece) const { return by_head ? Share{0, 1} : share(n_rows, piece, n_pieces); }
  Share heads(int64_t piece) const { return by_head ? share(n_heads, piece, n_pieces) : Share{0, n_heads}; }
};

}  // namespace nearlight
