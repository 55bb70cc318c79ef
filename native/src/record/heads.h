// How commands that work head by head are cut: a single row by its heads, more rows by rows.
#pragma once

#include "../runtime/share.h"
#include "../runtime/tape.h"

namespace nearlight {

struct HeadCut {
  bool by_head;
  RowCount all_rows;
  int64_t n_heads, n_pieces;

  HeadCut(const Tape& tape, RowCount rows, int64_t heads)
      : by_head(rows.most == 1), all_rows(rows), n_heads(heads),
        n_pieces(by_head ? tape.row_parts(heads) : tape.row_pieces(rows)) {}

  // Command::rows: pieces of other commands cut alike touch nothing of each other's.
  RowCount row_wise() const { return by_head ? RowCount{n_pieces} : all_rows; }

  // What a piece computes: these heads of each of these rows.
  Share rows(const Step& step, int64_t piece) const {
    return by_head ? Share{0, 1} : share(all_rows.in(step), piece, n_pieces);
  }
  Share heads(int64_t piece) const { return by_head ? share(n_heads, piece, n_pieces) : Share{0, n_heads}; }
};

}  // namespace nearlight
