// The kernels' clock, which says when a step asks whether to go on, and how long probes and profiled commands take.
//
// Here the tests change how fast the kernels are, to see that nothing depends on it. With NEARLIGHT_PACE=0.5 whoever
// did some work waits until it has taken twice as long, which is real for all who look. Nothing makes kernels quicker
// than they are, so with NEARLIGHT_PACE=2 this clock goes at half its speed instead: everything seems done in half the
// time, and a step that is to ask 20 times a second gets half as far in between.
#pragma once

#include <chrono>

namespace nearlight {

// What NEARLIGHT_PACE says: how many times as fast as they are the kernels are to be; 1 if it is not set.
// Raises std::invalid_argument for what is no number between 0.01 and 100.
double pace();

struct Clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Clock>;
  static constexpr bool is_steady = true;

  static time_point now();
  // Behind by some milliseconds at most, but takes 5 ns to read and not 30.
  static time_point now_about();
};

// Some work, from here to the end of the scope, takes as long as the pace demands.
class Paced {
 public:
  Paced() : slow_(pace() < 1) {
    if (slow_) start_ = Clock::now();
  }
  ~Paced() {
    if (slow_) wait();
  }
  Paced(const Paced&) = delete;
  Paced& operator=(const Paced&) = delete;

 private:
  void wait() const;

  bool slow_;
  Clock::time_point start_{};
};

}  // namespace nearlight
