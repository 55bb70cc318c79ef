// See clock.h.
#include "clock.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__linux__)
#include <time.h>
#endif

namespace nearlight {
namespace {

double read_pace() {
  const char* text = std::getenv("NEARLIGHT_PACE");
  if (!text || !*text) return 1;
  char* end = nullptr;
  const double pace = std::strtod(text, &end);
  if (*end || !(pace >= 0.01 && pace <= 100)) {
    throw std::invalid_argument(std::string("NEARLIGHT_PACE: expected a number from 0.01 to 100, found ") + text);
  }
  return pace;
}

Clock::time_point at_pace(std::chrono::nanoseconds passed) {
  if (pace() > 1) passed = std::chrono::nanoseconds(static_cast<int64_t>(static_cast<double>(passed.count()) / pace()));
  return Clock::time_point(passed);
}

}  // namespace

double pace() {
  static const double read = read_pace();
  return read;
}

Clock::time_point Clock::now() { return at_pace(std::chrono::steady_clock::now().time_since_epoch()); }

Clock::time_point Clock::now_about() {
#if defined(__linux__)
  timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return at_pace(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
#else
  return now();
#endif
}

void Paced::wait() const {
  const auto took = Clock::now() - start_;
  while (static_cast<double>((Clock::now() - start_).count()) * pace() < static_cast<double>(took.count())) {
  }
}

}  // namespace nearlight
