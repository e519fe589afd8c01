// SPDX-License-Identifier: Apache-2.0
// A mutex for what a real-time thread shares with ordinary ones.
#pragma once

#include <pthread.h>

namespace pz {

/// Who holds it runs at the priority of who waits for it (priority inheritance): else the waiting real-time thread is
/// as late as the ordinary thread that is not run, on a busy machine for many milliseconds.
class PriorityMutex {
public:
    PriorityMutex() noexcept {
        pthread_mutexattr_t attributes{};
        ::pthread_mutexattr_init(&attributes);
        ::pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
        if (::pthread_mutex_init(&mutex_, &attributes) != 0) // a kernel without such futexes
            ::pthread_mutex_init(&mutex_, nullptr);
        ::pthread_mutexattr_destroy(&attributes);
    }
    ~PriorityMutex() { ::pthread_mutex_destroy(&mutex_); }
    PriorityMutex(const PriorityMutex&) = delete;
    PriorityMutex& operator=(const PriorityMutex&) = delete;

    void lock() noexcept { ::pthread_mutex_lock(&mutex_); }
    void unlock() noexcept { ::pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t mutex_{};
};

} // namespace pz
