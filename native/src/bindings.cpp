// The Python face of the native library: converts arguments, checks sizes, releases the interpreter lock.
// What the operations mean is in nearlight/kernels/ops.py; src/nearlight/_native.pyi has the types.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>
#include <stdexcept>

#include "level.h"
#include "probe/probe.h"
#include "ranking.h"
#include "record/record.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace nearlight {
namespace {

using FloatArray = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using RowArray = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ByteArray = nb::ndarray<const uint8_t, nb::ndim<2>, nb::device::cpu>;
using Unlocked = nb::call_guard<nb::gil_scoped_release>;
using TapeRef = std::shared_ptr<Tape>;

std::shared_ptr<PackedMatrix> make_matrix(Runtime& runtime, std::string name, int format, int64_t n_out, int64_t n_in) {
  if (n_out < 1 || n_in < 1) throw std::invalid_argument(name + ": expected at least one row and column");
  return new_matrix(runtime, std::move(name), static_cast<Format>(format), n_out, n_in);
}

std::shared_ptr<PackedMatrix> view_matrix(const PackedMatrix& packed, int64_t first, int64_t last) {
  const int64_t n_out = packed.matrix.n_out, unit = view_granularity(packed.matrix.format);
  if (first < 0 || first >= last || last > n_out || first % unit) {
    throw std::invalid_argument(packed.name + ": expected a view of rows from a multiple of " + std::to_string(unit) +
                                " up to " + std::to_string(n_out) + " at most, found [" + std::to_string(first) + ", " +
                                std::to_string(last) + ")");
  }
  return view_of(packed, first, last);
}

// A view's bytes are not one range, and it is not what was stored.
void expect_whole(const PackedMatrix& packed) {
  if (packed.is_view) throw std::invalid_argument(packed.name + ": expected a whole matrix, found a view");
}

// The interpreter lock is only needed to look at the array; packing takes seconds for a large model.
void fill_matrix(PackedMatrix& packed, Runtime& runtime, int64_t first_row, ByteArray rows) {
  expect_whole(packed);
  const Matrix& m = packed.matrix;
  const size_t row_bytes = stored_row_bytes(m.format, m.n_in);
  const auto n_rows = static_cast<int64_t>(rows.shape(0));
  if (first_row < 0 || first_row % kLanes || n_rows > m.n_out - first_row ||
      (n_rows % kLanes && first_row + n_rows != m.n_out)) {
    throw std::invalid_argument(packed.name + ": expected rows of whole tiles, found " + std::to_string(n_rows) +
                                " from " + std::to_string(first_row) + " of " + std::to_string(m.n_out));
  }
  if (rows.shape(1) != row_bytes || rows.stride(1) != 1) {
    throw std::invalid_argument(packed.name + ": expected rows of " + std::to_string(row_bytes) + " bytes");
  }
  const uint8_t* data = rows.data();
  const auto stride = static_cast<size_t>(rows.stride(0));
  int64_t bad_row;
  {
    const nb::gil_scoped_release unlocked;
    bad_row = pack_rows(runtime, packed, first_row, n_rows, data, stride);
  }
  if (bad_row >= 0) {
    throw std::domain_error(packed.name + ": row " + std::to_string(bad_row) +
                            ": expected finite scales, found NaN or infinity");
  }
}

nb::ndarray<nb::numpy, const uint8_t, nb::ndim<1>> packed_bytes(std::shared_ptr<PackedMatrix> packed) {
  expect_whole(*packed);
  const Matrix& m = packed->matrix;
  nb::capsule owner(new std::shared_ptr(packed),
                    [](void* p) noexcept { delete static_cast<std::shared_ptr<PackedMatrix>*>(p); });
  return {m.data, {m.n_bytes()}, owner};
}

std::shared_ptr<StoredTable> make_table(std::string name, int format, int64_t width, ByteArray rows) {
  const auto stored = static_cast<Format>(format);
  if (rows.shape(0) == 0 || width < 1 || rows.shape(1) != stored_row_bytes(stored, width) || rows.stride(1) != 1) {
    throw std::invalid_argument(name + ": expected rows of " + std::to_string(stored_row_bytes(stored, width)) + " bytes");
  }
  return std::make_shared<StoredTable>(StoredTable{std::move(name), stored, static_cast<int64_t>(rows.shape(0)), width,
                                                   rows.data(), rows.stride(0), std::make_shared<ByteArray>(rows)});
}

std::shared_ptr<Vector> make_vector(std::string name, FloatArray values) {
  const size_t n = values.shape(0);
  auto vector = std::make_shared<Vector>(Vector{std::move(name), static_cast<int64_t>(n), allocate(n * sizeof(float))});
  std::memcpy(vector->memory.get(), values.data(), n * sizeof(float));
  return vector;
}

// An activation of another recording would name a place that means something else here.
void expect_own(const Tape& tape, const std::shared_ptr<Slot>& slot) {
  if (!slot->belongs_to(tape.slots())) throw std::invalid_argument("an activation of another step");
}
void expect_own(const Tape& tape, const Activation& x) { expect_own(tape, x.slot); }

// Asked by a long step whether to go on: lets Python act on signals that came in the meantime (its Ctrl-C only leaves a
// note while native code runs), and calls `watch`. What either raises ends the step, and is raised by it.
class Watch {
 public:
  explicit Watch(nb::object watch) : watch_(std::move(watch)) {}

  bool stops() noexcept {
    const nb::gil_scoped_acquire locked;
    try {
      if (PyErr_CheckSignals() != 0) nb::raise_python_error();
      if (!watch_.is_none()) watch_();
    } catch (nb::python_error& error) {
      raised_.emplace(std::move(error));
    }
    return raised_.has_value();
  }

  void raise() { throw nb::python_error(std::move(*raised_)); }

 private:
  nb::object watch_;
  std::optional<nb::python_error> raised_;
};

nb::ndarray<nb::numpy, float, nb::ndim<2>> run(Tape& tape, const Activation& result, std::vector<int32_t> tokens,
                                               std::vector<int32_t> positions, std::vector<int32_t> sequences,
                                               std::vector<int32_t> logit_rows, std::optional<RowArray> embeddings,
                                               const std::vector<FloatArray>& frequencies, nb::object watch) {
  expect_own(tape, result);
  if (positions.size() != tokens.size() || sequences.size() != tokens.size()) {
    throw std::invalid_argument("tokens, positions and sequences must be as many");
  }
  Step step;
  step.tokens = std::move(tokens), step.positions = std::move(positions);
  step.sequences = std::move(sequences), step.logit_rows = std::move(logit_rows);
  if (embeddings) {
    step.embeddings = {embeddings->data(), static_cast<int64_t>(embeddings->shape(0)),
                       static_cast<int64_t>(embeddings->shape(1))};
  }
  for (const auto& f : frequencies) step.frequencies.emplace_back(f.data(), f.data() + f.shape(0));
  const auto n_rows = static_cast<size_t>(result.rows.in(step)), n = n_rows * static_cast<size_t>(result.width);
  auto out = tape.runtime()->results->take(n);
  Watch watching(std::move(watch));
  bool complete;
  {
    const nb::gil_scoped_release unlocked;
    complete = tape.run(std::move(step), result.place(), n * sizeof(float), out.get(),
                        [&watching] { return watching.stops(); });
  }
  if (!complete) watching.raise();
  float* data = out.get();
  auto held = std::make_unique<std::shared_ptr<float[]>>(std::move(out));
  nb::capsule owner(held.get(), [](void* memory) noexcept { delete static_cast<std::shared_ptr<float[]>*>(memory); });
  held.release();
  return {data, {n_rows, static_cast<size_t>(result.width)}, owner};
}

void bind_probes(nb::module_& m) {
  nb::enum_<DataType>(m, "DataType")
      .value("fp32", DataType::fp32)
      .value("bf16", DataType::bf16)
      .value("int16", DataType::int16)
      .value("int8", DataType::int8);
  m.def("probe_read", &probe_read, "n_bytes"_a, "n_threads"_a, "seconds"_a, Unlocked());
  m.def("probe_peak", &probe_peak, "type"_a, "n_threads"_a, "seconds"_a, Unlocked());
}

void bind_parameters(nb::module_& m) {
  nb::class_<Runtime>(m, "Runtime")
      .def(nb::new_([](int n_threads) {
             if (n_threads < 1) throw std::invalid_argument("threads: expected at least 1");
             return std::make_shared<Runtime>(n_threads);
           }),
           "n_threads"_a)
      .def_prop_ro("n_threads", [](const Runtime& r) { return r.pool.n_threads(); })
      .def_prop_ro("arena_bytes", [](const Runtime& r) { return r.arena.n_bytes(); })
      .def_prop_rw("ask_every_s", [](const Runtime& r) { return std::chrono::duration<double>(r.pool.ask_every).count(); },
                   [](Runtime& r, double seconds) {
                     r.pool.ask_every = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
                   });

  nb::class_<PackedMatrix>(m, "Matrix")
      .def(nb::new_(&make_matrix), "runtime"_a, "name"_a, "format"_a, "n_out"_a, "n_in"_a)
      .def("fill", &fill_matrix, "runtime"_a, "first_row"_a, "rows"_a)
      .def("view", &view_matrix, "first"_a, "last"_a)
      .def("checksum", [](const PackedMatrix& packed) {
        expect_whole(packed);
        const nb::gil_scoped_release unlocked;
        return checksum(packed);
      })
      .def_prop_ro("packed", &packed_bytes, nb::rv_policy::reference)
      .def_ro("name", &PackedMatrix::name)
      .def_prop_ro("format", [](const PackedMatrix& p) { return static_cast<int>(p.matrix.format); })
      .def_prop_ro("shape", [](const PackedMatrix& p) { return std::pair(p.matrix.n_out, p.matrix.n_in); })
      .def_prop_ro("n_bytes", [](const PackedMatrix& p) { return p.matrix.n_bytes(); });

  m.def("packed_fingerprint", &packed_fingerprint);
  m.def("read_packed", [](Runtime& runtime, int file, const std::vector<std::shared_ptr<PackedMatrix>>& into,
                          const std::vector<int64_t>& offsets) {
    if (into.size() != offsets.size()) throw std::invalid_argument("matrices and offsets must be as many");
    for (const auto& packed : into) expect_whole(*packed);
    const nb::gil_scoped_release unlocked;
    return read_packed(runtime, file, into, offsets);
  }, "runtime"_a, "file"_a, "into"_a, "offsets"_a);

  nb::class_<Vector>(m, "Vector")
      .def(nb::new_(&make_vector), "name"_a, "values"_a)
      .def_ro("name", &Vector::name)
      .def_ro("size", &Vector::size);

  nb::class_<StoredTable>(m, "StoredTable")
      .def(nb::new_(&make_table), "name"_a, "format"_a, "width"_a, "rows"_a)
      .def_ro("name", &StoredTable::name)
      .def_prop_ro("shape", [](const StoredTable& t) { return std::pair(t.n_rows, t.width); });

  nb::class_<KVStore>(m, "KVStore")
      .def(nb::new_([](std::shared_ptr<Runtime> runtime, int64_t n_kv_heads, int64_t head_dim, int format) {
             return std::make_shared<KVStore>(std::move(runtime), n_kv_heads, head_dim, static_cast<KVFormat>(format));
           }),
           "runtime"_a, "n_kv_heads"_a, "head_dim"_a, "format"_a)
      .def("reserve", &KVStore::reserve, "sequence"_a, "n_tokens"_a, Unlocked())
      .def("copy", &KVStore::copy, "source"_a, "target"_a, "n_tokens"_a, Unlocked())
      .def("release", &KVStore::release, "sequence"_a, "before"_a, Unlocked())
      .def("clear", &KVStore::clear, "sequence"_a, Unlocked())
      .def("free", &KVStore::free, "sequence"_a, Unlocked())
      .def_prop_ro("n_bytes", &KVStore::n_bytes, Unlocked())
      .def_prop_ro("token_bytes", [](const KVStore& s) { return s.layout().token_bytes(); })
      .def_prop_ro("n_kv_heads", [](const KVStore& s) { return s.layout().n_kv_heads; })
      .def_prop_ro("head_dim", [](const KVStore& s) { return s.layout().head_dim; });
}

void bind_recurrent_store(nb::module_& m) {
  nb::class_<RecurrentStore>(m, "RecurrentStore")
      .def(nb::new_([](std::shared_ptr<Runtime> runtime, int64_t size) {
             if (size < 1) throw std::invalid_argument("state: expected at least one value");
             return std::make_shared<RecurrentStore>(std::move(runtime), size);
           }),
           "runtime"_a, "size"_a)
      .def("reserve", &RecurrentStore::reserve, "sequence"_a, Unlocked())
      .def("use", &RecurrentStore::use, "sequence"_a, "place"_a, Unlocked())
      .def("copy", &RecurrentStore::copy, "source"_a, "target"_a, Unlocked())
      .def("clear", &RecurrentStore::clear, "sequence"_a, Unlocked())
      .def("free", &RecurrentStore::free, "sequence"_a, Unlocked())
      .def_prop_ro("size", &RecurrentStore::size)
      .def_prop_ro("n_bytes", &RecurrentStore::n_bytes, Unlocked());
}

// Called by the sampler on a step's logits; too short a work to release the interpreter lock for. Keeps them alive.
struct RankedScores {
  FloatArray scores;
  Ranking ranking;
};

nb::tuple ids_and_scores(const std::vector<Ranked>& ranked) {
  const size_t n = ranked.size();
  auto* memory = new std::byte[n * (sizeof(int32_t) + sizeof(float))];
  const nb::capsule owner(memory, [](void* data) noexcept { delete[] static_cast<std::byte*>(data); });
  auto* ids = reinterpret_cast<int32_t*>(memory);
  auto* scores = reinterpret_cast<float*>(ids + n);
  for (size_t i = 0; i < n; ++i) ids[i] = ranked[i].id, scores[i] = ranked[i].score;
  return nb::make_tuple(nb::ndarray<nb::numpy, int32_t, nb::ndim<1>>(ids, {n}, owner),
                        nb::ndarray<nb::numpy, float, nb::ndim<1>>(scores, {n}, owner));
}

void bind_ranking(nb::module_& m) {
  nb::class_<RankedScores>(m, "Ranking")
      .def(nb::new_([](FloatArray scores) {
             if (scores.shape(0) == 0) throw std::invalid_argument("scores: expected at least one");
             return RankedScores{scores, Ranking(scores.data(), static_cast<int64_t>(scores.shape(0)))};
           }),
           "scores"_a)
      .def("__len__", [](const RankedScores& r) { return r.ranking.size(); })
      .def_prop_ro("highest", [](const RankedScores& r) { return r.ranking.highest(); })
      .def("best", [](const RankedScores& r) { return r.ranking.best(); })
      .def("top", [](const RankedScores& r, int64_t n) {
        if (n < 1) throw std::invalid_argument("n: expected at least 1");
        return ids_and_scores(r.ranking.top(n));
      }, "n"_a)
      .def("reaching", [](const RankedScores& r, float floor) { return ids_and_scores(r.ranking.reaching(floor)); },
           "floor"_a)
      .def("sum_of_powers", [](const RankedScores& r, float factor) { return r.ranking.sum_of_powers(factor); },
           "factor"_a);
}

void bind_tape(nb::module_& m) {
  nb::class_<RowCount>(m, "RowCount")
      .def_ro("most", &RowCount::most)
      .def("__eq__", [](const RowCount& a, const RowCount& b) { return a == b; }, nb::is_operator())
      .def("__repr__", [](const RowCount& rows) {
        return "up to " + std::to_string(rows.most) + (rows.of_logits ? " logit rows" : " rows");
      });
  nb::class_<Activation>(m, "Activation").def_prop_ro("shape", [](const Activation& a) {
    return std::pair(a.rows, a.width);
  });
  nb::class_<Input>(m, "Input").def_prop_ro("shape", [](const Input& i) { return nb::make_tuple(i.rows); });
  nb::class_<GivenRows>(m, "GivenRows");
  nb::class_<Routes>(m, "Routes")
      .def_ro("rows", &Routes::rows)
      .def_ro("pairs", &Routes::pairs)
      .def_ro("n_experts", &Routes::n_experts);

  nb::class_<Tape> tape(m, "Tape");
  tape.def(nb::new_([](std::shared_ptr<Runtime> runtime, int64_t most_rows, int64_t most_logit_rows) {
             return std::make_shared<Tape>(std::move(runtime), most_rows, most_logit_rows);
           }),
           "runtime"_a, "most_rows"_a, "most_logit_rows"_a)
      .def_prop_ro("tokens", [](const Tape& t) { return Input{&Step::tokens, t.rows()}; })
      .def_prop_ro("positions", [](const Tape& t) { return Input{&Step::positions, t.rows()}; })
      .def_prop_ro("sequences", [](const Tape& t) { return Input{&Step::sequences, t.rows()}; })
      .def_prop_ro("logit_rows", [](const Tape& t) { return Input{&Step::logit_rows, t.logit_rows()}; })
      .def("use_logit_rows", &Tape::use_logit_rows)
      .def_prop_ro("logit_tokens", [](const Tape& t) { return Input{&Step::logit_tokens, t.logit_rows()}; })
      .def_prop_ro("logit_positions", [](const Tape& t) { return Input{&Step::logit_positions, t.logit_rows()}; })
      .def_prop_ro("logit_sequences", [](const Tape& t) { return Input{&Step::logit_sequences, t.logit_rows()}; })
      .def_prop_ro("embeddings", [](const Tape&) { return GivenRows{}; })
      .def("run", &run, "result"_a, "tokens"_a, "positions"_a, "sequences"_a, "logit_rows"_a,
           "embeddings"_a.none(), "frequencies"_a,
           "watch"_a.none())
      .def("set_profiling", &Tape::set_profiling, "on"_a, Unlocked())
      .def("profile",
           [](const Tape& t) {
             std::vector<std::pair<std::string, double>> times;
             for (auto& time : t.profile()) times.emplace_back(std::move(time.name), time.seconds);
             return times;
           })
      .def_prop_ro("waited_seconds", &Tape::waited_seconds)
      .def_prop_ro("n_commands", &Tape::n_commands)
      .def_prop_ro("n_stages", &Tape::n_stages)
      .def_prop_ro("stages", &Tape::stages)
      .def_prop_ro("arena_bytes", &Tape::arena_bytes);

  using X = const Activation&;
  tape.def("embed", [](TapeRef t, MatrixRef table, Input ids, std::optional<GivenRows> given, float scale) {
    return embed(*t, table, ids, given.has_value(), scale);
  }, "table"_a, "ids"_a, "given"_a.none(), "scale"_a);
  tape.def("linear", [](TapeRef t, Activation& x, MatrixRef weight, std::optional<VectorRef> bias) {
    expect_own(*t, x);
    return linear(*t, x, weight, bias ? *bias : nullptr);
  }, "x"_a, "weight"_a, "bias"_a.none());
  tape.def("look_up", [](TapeRef t, const StoredTable& table, Input ids, float scale) {
    return look_up(*t, table, ids, scale);
  });
  tape.def("rms_norm", [](TapeRef t, X x, std::optional<VectorRef> weight, int64_t n, float eps) {
    expect_own(*t, x);
    return rms_norm(*t, x, weight ? *weight : nullptr, n, eps);
  }, "x"_a, "weight"_a.none(), "n"_a, "eps"_a);
  tape.def("l2_norm", [](TapeRef t, X x, int64_t head_dim, float eps) {
    expect_own(*t, x);
    return l2_norm(*t, x, head_dim, eps);
  }, "x"_a, "head_dim"_a, "eps"_a);
  tape.def("layer_norm", [](TapeRef t, X x, VectorRef weight, VectorRef bias, float eps) {
    expect_own(*t, x);
    return layer_norm(*t, x, weight, bias, eps);
  });
  tape.def("rope_angles", [](TapeRef t, Input positions, int64_t half, float magnitude) {
    return rope_angles(*t, positions, half, magnitude);
  });
  tape.def("rope", [](TapeRef t, X x, X angles, int64_t head_dim, bool interleaved) {
    expect_own(*t, x), expect_own(*t, angles);
    return rope(*t, x, angles, head_dim, interleaved);
  });
  tape.def("append", [](TapeRef t, X k, X v, std::shared_ptr<KVStore> store) {
    expect_own(*t, k), expect_own(*t, v);
    append(*t, k, v, store);
  });
  tape.def("attend", [](TapeRef t, X q, std::shared_ptr<KVStore> store, float scale, int64_t window, bool chunked,
                        float softcap, std::optional<VectorRef> sinks) {
    expect_own(*t, q);
    return attend(*t, q, store, {scale, {window, chunked}, softcap, sinks ? *sinks : nullptr});
  }, "q"_a, "store"_a, "scale"_a, "window"_a, "chunked"_a, "softcap"_a, "sinks"_a.none());
  tape.def("attend_whole", [](TapeRef t, X q, X k, X v, int64_t length, int64_t head_dim, float scale, int64_t window,
                              bool chunked, float softcap, std::optional<VectorRef> sinks) {
    expect_own(*t, q), expect_own(*t, k), expect_own(*t, v);
    return attend_whole(*t, q, k, v, length, head_dim, {scale, {window, chunked}, softcap, sinks ? *sinks : nullptr});
  }, "q"_a, "k"_a, "v"_a, "length"_a, "head_dim"_a, "scale"_a, "window"_a, "chunked"_a, "softcap"_a, "sinks"_a.none());
  tape.def("causal_conv", [](TapeRef t, X x, VectorRef weight, std::optional<VectorRef> bias,
                             std::shared_ptr<RecurrentStore> store, bool silu) {
    expect_own(*t, x);
    return causal_conv(*t, x, weight, bias ? *bias : nullptr, store, silu);
  }, "x"_a, "weight"_a, "bias"_a.none(), "store"_a, "silu"_a);
  tape.def("selective_scan", [](TapeRef t, X x, X dt, X b, X c, VectorRef a_log, VectorRef d,
                                std::optional<VectorRef> dt_bias, std::shared_ptr<RecurrentStore> store,
                                int64_t n_heads, int64_t n_groups) {
    expect_own(*t, x), expect_own(*t, dt), expect_own(*t, b), expect_own(*t, c);
    return selective_scan(*t, x, dt, b, c, a_log, d, dt_bias ? *dt_bias : nullptr, store, n_heads, n_groups);
  }, "x"_a, "dt"_a, "b"_a, "c"_a, "a_log"_a, "d"_a, "dt_bias"_a.none(), "store"_a, "n_heads"_a, "n_groups"_a);
  tape.def("gated_delta_rule", [](TapeRef t, X q, X k, X v, X a, X b, VectorRef a_log, VectorRef dt_bias,
                                  std::shared_ptr<RecurrentStore> store, int64_t n_key_heads, bool tiled, float scale) {
    for (X x : {std::cref(q), std::cref(k), std::cref(v), std::cref(a), std::cref(b)}) expect_own(*t, x);
    return gated_delta_rule(*t, {q, k, v, a, b}, a_log, dt_bias, store, {n_key_heads, tiled, scale});
  }, "q"_a, "k"_a, "v"_a, "a"_a, "b"_a, "a_log"_a, "dt_bias"_a, "store"_a, "n_key_heads"_a, "tiled"_a, "scale"_a);
  tape.def("grouped_rms_norm", [](TapeRef t, X x, VectorRef weight, float eps, int64_t n_groups) {
    expect_own(*t, x);
    return grouped_rms_norm(*t, x, weight, eps, n_groups);
  });
  tape.def("route", [](TapeRef t, X scores, int64_t n_chosen, bool normalize, bool sigmoid, float scale, int64_t n_groups,
                       int64_t n_chosen_groups, std::optional<VectorRef> bias, std::optional<VectorRef> expert_scale) {
    expect_own(*t, scores);
    return route(*t, scores, {n_chosen, normalize, sigmoid, scale, n_groups, n_chosen_groups, bias ? *bias : nullptr,
                              expert_scale ? *expert_scale : nullptr});
  }, "scores"_a, "n_chosen"_a, "normalize"_a, "sigmoid"_a, "scale"_a, "n_groups"_a, "n_chosen_groups"_a,
     "bias"_a.none(), "expert_scale"_a.none());
  tape.def("expert_linear", [](TapeRef t, Activation& x, std::vector<std::shared_ptr<PackedMatrix>> weights,
                               const Routes& routes, std::optional<VectorRef> bias) {
    expect_own(*t, x), expect_own(*t, routes.slot);
    return expert_linear(*t, x, {weights.begin(), weights.end()}, routes, bias ? *bias : nullptr);
  }, "x"_a, "weights"_a, "routes"_a, "bias"_a.none());
  tape.def("weigh", [](TapeRef t, X y, const Routes& routes) {
    expect_own(*t, y), expect_own(*t, routes.slot);
    return weigh(*t, y, routes);
  });
  tape.def("combine", [](TapeRef t, X y, const Routes& routes, bool weighted) {
    expect_own(*t, y), expect_own(*t, routes.slot);
    return combine(*t, y, routes, weighted);
  });
  tape.def("multiply", [](TapeRef t, X x, X y) {
    expect_own(*t, x), expect_own(*t, y);
    return multiply(*t, x, y);
  });
  tape.def("squared_relu", [](TapeRef t, X x) {
    expect_own(*t, x);
    return squared_relu(*t, x);
  });
  tape.def("swiglu", [](TapeRef t, X gate, X up) {
    expect_own(*t, gate), expect_own(*t, up);
    return swiglu(*t, gate, up);
  });
  tape.def("clamped_swiglu", [](TapeRef t, X gate, X up, float alpha, float limit) {
    expect_own(*t, gate), expect_own(*t, up);
    return clamped_swiglu(*t, gate, up, alpha, limit);
  });
  tape.def("sigmoid_gate", [](TapeRef t, X x, X gate) {
    expect_own(*t, x), expect_own(*t, gate);
    return sigmoid_gate(*t, x, gate);
  });
  tape.def("geglu", [](TapeRef t, X gate, X up, bool tanh) {
    expect_own(*t, gate), expect_own(*t, up);
    return geglu(*t, gate, up, tanh);
  });
  tape.def("scale", [](TapeRef t, X x, float factor) {
    expect_own(*t, x);
    return scale(*t, x, factor);
  });
  tape.def("scale", [](TapeRef t, X x, VectorRef factor) {
    expect_own(*t, x);
    return scale(*t, x, *factor->data());
  });
  tape.def("scale_by_position", [](TapeRef t, X x, Input positions, float strength, int64_t period, int64_t offset) {
    expect_own(*t, x);
    return scale_by_position(*t, x, positions, strength, period, offset);
  });
  tape.def("softcap", [](TapeRef t, X x, float cap) {
    expect_own(*t, x);
    return softcap(*t, x, cap);
  });
  tape.def("gelu", [](TapeRef t, X x, bool tanh) {
    expect_own(*t, x);
    return gelu(*t, x, tanh);
  });
  tape.def("add", [](TapeRef t, X x, X y, float scale) {
    expect_own(*t, x), expect_own(*t, y);
    return add(*t, x, y, scale);
  });
  tape.def("take", [](TapeRef t, X x, Input indices) {
    expect_own(*t, x);
    return take(*t, x, indices);
  });
  tape.def("columns", [](TapeRef t, X x, int64_t first, int64_t width) {
    expect_own(*t, x);
    return columns(*t, x, first, width);
  });
}

}  // namespace
}  // namespace nearlight

NB_MODULE(_native, m) {
  using namespace nearlight;
  // What a stopped program still holds when the interpreter ends is no news to the person who stopped it.
  nb::set_leak_warnings(false);
  m.def("isa", [] { return std::string(level().name); });
  m.def("isas", [] {
    std::vector<std::string> names;
    for (const Level& usable : usable_levels()) names.emplace_back(usable.name);
    return names;
  });
  bind_probes(m);
  bind_parameters(m);
  bind_recurrent_store(m);
  bind_ranking(m);
  bind_tape(m);
}
