// SPDX-License-Identifier: Apache-2.0
#include "base/priority_mutex.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <mutex>
#include <thread>

namespace pz {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// The calling thread runs on one processor, at a real-time priority or (0) as an ordinary thread.
bool become(int processor, int priority) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(processor), &set);
    const sched_param parameter{.sched_priority = priority};
    return ::sched_setaffinity(0, sizeof set, &set) == 0 &&
           ::pthread_setschedparam(::pthread_self(), priority == 0 ? SCHED_OTHER : SCHED_FIFO, &parameter) == 0;
}

std::chrono::nanoseconds processor_time() {
    timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

// All on one processor: an ordinary thread holds the mutex and has 5 ms of work, a real-time thread keeps the processor
// busy for 800 ms, one of higher priority wants the mutex.
TEST(PriorityMutex, the_holder_runs_before_whoever_is_below_the_one_that_waits) {
    const int processor = ::sched_getcpu();
    std::atomic<bool> may{true};
    std::thread([&] { may = become(processor, 2); }).join();
    if (!may)
        GTEST_SKIP() << "needs the right to run at real-time priority";
    PriorityMutex mutex;
    std::atomic<bool> held{false};
    std::atomic<bool> busy{false};
    std::atomic<bool> done{false};
    Clock::duration waited{};

    std::thread low([&] {
        become(processor, 0);
        const std::lock_guard lock(mutex);
        held = true;
        while (!busy)
            std::this_thread::yield();
        const auto end = processor_time() + 5ms;
        while (processor_time() < end)
            ;
    });
    while (!held)
        std::this_thread::yield();
    std::thread high([&] {
        become(processor, 2);
        while (!busy)
            std::this_thread::sleep_for(1ms);
        const auto began = Clock::now();
        const std::lock_guard lock(mutex);
        waited = Clock::now() - began;
        done = true;
    });
    std::thread middle([&] {
        become(processor, 1);
        busy = true;
        const auto end = Clock::now() + 800ms;
        while (!done && Clock::now() < end)
            ;
    });
    for (auto* thread : {&low, &high, &middle})
        thread->join();
    EXPECT_LT(waited, 400ms);
}

} // namespace
} // namespace pz
