// See tape.h.
#include "tape.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace nearlight {

Tape::Tape(std::shared_ptr<Runtime> runtime, int64_t n_rows, int64_t n_wanted)
    : runtime_(std::move(runtime)), n_rows_(n_rows), n_wanted_(n_wanted) {}

size_t Tape::add_frequencies() {
  step_.frequencies.emplace_back();
  return step_.frequencies.size() - 1;
}

bool Tape::conflicts(const Command& command) const {
  for (const Touch& touch : command.touches) {
    for (const Recent& before : recent_) {
      if (touch.space != before.touch.space || !touch.place.overlaps(before.touch.place)) continue;
      if (!touch.writes && !before.touch.writes) continue;
      const bool own_rows = command.n_rows > 0 && command.n_rows == before.n_rows;
      if (!(own_rows && touch.place == before.touch.place)) return true;
    }
  }
  return false;
}

void Tape::add(Command command) {
  const bool barrier = conflicts(command);
  if (barrier) recent_.clear();
  for (const Touch& touch : command.touches) recent_.push_back({touch, command.n_rows});
  commands_.push_back({std::move(command), barrier});
}

void Tape::run(Step step, Place result, void* out) {
  const std::lock_guard lock(runtime_->mutex);
  find_spans(step);
  if (step.n_rows() != n_rows_ || static_cast<int64_t>(step.wanted.size()) != n_wanted_ ||
      step.frequencies.size() != step_.frequencies.size()) {
    throw std::invalid_argument("a tape was given rows of another shape than it recorded");
  }
  for (const auto& check : checks_) check(step);
  step_ = std::move(step);
  runtime_->arena.reserve(slots_->peak());
  if (!taken_) taken_ = std::make_unique<std::atomic<int64_t>[]>(commands_.size());
  for (size_t i = 0; i < commands_.size(); ++i) taken_[i].store(0, std::memory_order_relaxed);
  std::byte* arena = runtime_->arena.data();
  runtime_->pool.run([this, arena](int thread) { walk(thread, arena); });
  std::memcpy(out, result.in<std::byte>(arena), result.n_bytes);
}

void Tape::walk(int thread, std::byte* arena) {
  using Clock = std::chrono::steady_clock;
  const bool timing = profiling_ && thread == 0;
  auto last = Clock::now();
  Worker worker{thread, runtime_->pool.n_threads(), arena, nullptr};
  for (size_t i = 0; i < commands_.size(); ++i) {
    Entry& entry = commands_[i];
    if (entry.barrier) runtime_->pool.barrier();
    worker.taken = &taken_[i];
    entry.command.run(worker);
    if (timing) {
      const auto now = Clock::now();
      entry.seconds += std::chrono::duration<double>(now - last).count();
      last = now;
    }
  }
}

void Tape::set_profiling(bool on) {
  const std::lock_guard lock(runtime_->mutex);
  profiling_ = on;
  if (on) {
    for (auto& entry : commands_) entry.seconds = 0;
  }
}

std::vector<CommandTime> Tape::profile() const {
  std::vector<CommandTime> times;
  times.reserve(commands_.size());
  for (const auto& entry : commands_) times.push_back({entry.command.name, entry.seconds});
  return times;
}

size_t Tape::n_barriers() const {
  return static_cast<size_t>(std::count_if(commands_.begin(), commands_.end(), [](const Entry& e) { return e.barrier; }));
}

}  // namespace nearlight
