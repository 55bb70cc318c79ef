// See tape.h.
#include "tape.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "clock.h"

namespace nearlight {
namespace {

// Nanoseconds since `last`, which becomes now.
int64_t since(Clock::time_point& last) {
  const auto before = last;
  last = Clock::now();
  return (last - before).count();
}

}  // namespace

Tape::Tape(std::shared_ptr<Runtime> runtime, int64_t most_rows, int64_t most_logit_rows)
    : runtime_(std::move(runtime)), rows_{most_rows, false}, logit_rows_{most_logit_rows, true} {
  if (most_rows < 1 || most_logit_rows < 0) throw std::invalid_argument("a tape: expected at least one row");
  if (most_rows == 1) slots_->hold_back();
}

size_t Tape::add_frequencies() {
  step_.frequencies.emplace_back();
  return step_.frequencies.size() - 1;
}

Place Tape::workplace(size_t n_bytes) { return workplaces_.try_emplace(n_bytes, slots_, n_bytes).first->second.place(); }

const AttendSchedule& Tape::schedule(int64_t most_rows, Window window, bool of_logits) {
  return schedules_.try_emplace({most_rows, window, of_logits}, most_rows, window, of_logits).first->second;
}

int64_t Tape::pieces(int64_t n) const {
  const int n_threads = runtime_->pool.n_threads();
  if (n_threads == 1 && rows_.most < kLongStep) return 1;
  return std::clamp<int64_t>(n, 1, kPiecesPerThread * n_threads);
}

int64_t Tape::row_parts(int64_t n) const {
  const int64_t most = std::max<int64_t>(kRowParts, runtime_->pool.n_threads());
  int64_t n_parts = 1;
  while (rows_.most == 1 && pieces(n) > 1 && n % (2 * n_parts) == 0 && 2 * n_parts <= most) n_parts *= 2;
  return n_parts;
}

// Whether a command has to wait for one of the current stage.
bool Tape::conflicts(const Command& command) const {
  for (const Group& group : stages_.back()) {
    const bool own_rows = command.rows.most > 0 && command.rows == group.rows;
    if (own_rows && group.n_pieces == 1) continue;  // one after the other in any case
    for (const size_t i : group.commands) {
      for (const Touch& before : commands_[i].command.touches) {
        for (const Touch& touch : command.touches) {
          if (touch.space != before.space || !touch.place.overlaps(before.place)) continue;
          if (!touch.writes && !before.writes) continue;
          const bool by_row = own_rows && !touch.interleaved && !before.interleaved;
          if (!(by_row && touch.place == before.place)) return true;
        }
      }
    }
  }
  return false;
}

void Tape::add(Command command) {
  if (stages_.empty() || conflicts(command)) {
    slots_->release();
    stages_.emplace_back();
    stage_pieces_.push_back(0);
  }
  Stage& stage = stages_.back();
  const auto same_rows = [&](const Group& group) { return command.rows.most > 0 && group.rows == command.rows; };
  auto group = std::find_if(stage.begin(), stage.end(), same_rows);
  if (group == stage.end()) {
    const auto n_pieces = static_cast<uint32_t>(command.n_pieces);
    group = stage.insert(stage.end(), {command.rows, n_pieces, {}});
    stage_pieces_.back() += n_pieces;
  }
  group->commands.push_back(commands_.size());
  commands_.push_back({std::move(command)});
}

void Tape::look_ahead() {
  const auto n_threads = static_cast<size_t>(runtime_->pool.n_threads());
  stage_ahead_.assign(stages_.size() * n_threads, {});
  std::vector<Ahead> next(n_threads);
  for (size_t stage = stages_.size(); stage-- > 0;) {
    for (size_t thread = 0; thread < n_threads; ++thread) {
      stage_ahead_[stage * n_threads + thread] = next[thread];
      const Share own = share(stage_pieces_[stage], static_cast<int64_t>(thread), static_cast<int64_t>(n_threads));
      if (const Ahead first = streams(stages_[stage], own); first.first) next[thread] = first;
    }
  }
}

// What is read in these pieces of a stage, as far as the first command that streams weights goes.
Ahead Tape::streams(const Stage& stage, Share pieces) const {
  for (const Group& group : stage) {
    const Command& command = commands_[group.commands.front()].command;
    const int64_t begin = std::max(pieces.begin, int64_t{0}), end = std::min<int64_t>(pieces.end, group.n_pieces);
    if (begin < end && command.streams.first) {
      const auto at = [&](int64_t piece) { return command.streams.n_bytes * static_cast<size_t>(piece) / group.n_pieces; };
      return {command.streams.first + at(begin), at(end) - at(begin)};
    }
    pieces = {pieces.begin - group.n_pieces, pieces.end - group.n_pieces};
  }
  return {};
}

bool Tape::run(Step step, Place result, size_t n_bytes, void* out, const Pool::Stop& stop) {
  const std::lock_guard lock(runtime_->mutex);
  if (runtime_->stepping) throw std::runtime_error("a step was begun by what is called during another");
  find_spans(step);
  if (uses_logit_rows_) find_logit_spans(step);
  if (!rows_.holds(step) || !logit_rows_.holds(step) || step.frequencies.size() != step_.frequencies.size()) {
    throw std::invalid_argument("a tape was given rows that it has no room for");
  }
  for (const auto& hook : before_run_) hook(step);
  step_ = std::move(step);
  for (auto& [_, schedule] : schedules_) schedule.make(step_);
  runtime_->arena.reserve(slots_->peak());
  std::byte* arena = runtime_->arena.data();
  if (stage_ahead_.empty()) look_ahead();
  auto start = Clock::now();
  const auto work = [this, arena](size_t stage, uint32_t piece, int thread) {
    run_piece(stage, piece, {thread, arena});
  };
  Target* const target = commands_.empty() ? nullptr : commands_.back().command.target.get();
  const bool direct = target && target->place == result;
  if (direct) target->outside = static_cast<float*>(out);
  runtime_->stepping = true;
  const bool complete = runtime_->pool.run(stage_pieces_, work, stop, stage_ahead_);
  runtime_->stepping = false;
  if (direct) target->outside = nullptr;
  if (profiling_) ran_s_ += static_cast<double>(since(start)) * 1e-9;
  if (complete && !direct) std::memcpy(out, result.in<std::byte>(arena), n_bytes);
  return complete;
}

void Tape::run_piece(size_t number, uint32_t piece, const Worker& worker) {
  const Stage& stage = stages_[number];
  auto group = stage.begin();
  for (; piece >= group->n_pieces; ++group) piece -= group->n_pieces;
  auto before = profiling_ ? Clock::now() : Clock::time_point();
  for (const size_t i : group->commands) {
    {
      const Paced paced;
      commands_[i].command.run(worker, piece);
    }
    if (profiling_) commands_[i].busy_ns->fetch_add(since(before), std::memory_order_relaxed);
  }
}

std::vector<std::vector<std::string>> Tape::stages() const {
  std::vector<std::vector<std::string>> names(stages_.size());
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    for (const Group& group : stages_[stage]) {
      for (const size_t i : group.commands) names[stage].push_back(commands_[i].command.name);
    }
  }
  return names;
}

void Tape::set_profiling(bool on) {
  const std::lock_guard lock(runtime_->mutex);
  profiling_ = on;
  if (!on) return;
  for (auto& entry : commands_) *entry.busy_ns = 0;
  ran_s_ = 0;
}

std::vector<CommandTime> Tape::profile() const {
  std::vector<CommandTime> times;
  times.reserve(commands_.size());
  const double scale = 1e-9 / runtime_->pool.n_threads();
  for (const auto& entry : commands_) {
    times.push_back({entry.command.name, static_cast<double>(*entry.busy_ns) * scale});
  }
  return times;
}

double Tape::waited_seconds() const {
  double busy_s = 0;
  for (const auto& time : profile()) busy_s += time.seconds;
  return std::max(0.0, ran_s_ - busy_s);
}

}  // namespace nearlight
