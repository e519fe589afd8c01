// SPDX-License-Identifier: Apache-2.0
#include "daemon/trigger_thread.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include <proxzzy/abi/reasons.h>

#include <spdlog/spdlog.h>

namespace pz {

namespace {

/// Of the local day now; the calendar is looked at only where somebody asked for it.
unsigned minute_for(const WakePolicy& policy) {
    return policy.quiet.empty() ? 0 : local_minute(std::chrono::system_clock::now());
}

} // namespace

void WakePlans::set(HostId host, std::shared_ptr<const WakePlan> plan) {
    const std::lock_guard lock(mutex_);
    plans_[host].swap(plan); // the old one goes with `plan`, when nobody waits for the lock any more
}

void WakePlans::erase(HostId host) {
    decltype(plans_)::node_type old; // goes when nobody waits for the lock any more
    const std::lock_guard lock(mutex_);
    old = plans_.extract(host);
}

std::shared_ptr<const WakePlan> WakePlans::get(HostId host) const {
    const std::lock_guard lock(mutex_);
    const auto found = plans_.find(host);
    return found == plans_.end() ? nullptr : found->second;
}

std::optional<IpAddress> event_address(const pz_event& event) {
    if (event.family == PZ_FAMILY_NONE)
        return std::nullopt;
    return IpAddress::from_bytes(std::span(event.address).first(event.family == PZ_FAMILY_4 ? 4 : 16));
}

std::optional<Refusal> WakeBudgets::ask(HostId host, const WakePolicy& policy, const Trigger& trigger,
                                        Instant now) const {
    static const WakeBudget unspent;
    const std::lock_guard lock(mutex_);
    const auto found = accounts_.find(host);
    return refuse_wake(policy, trigger, found == accounts_.end() ? unspent : found->second.budget, now,
                       minute_for(policy));
}

void WakeBudgets::add(HostId host, const Trigger& trigger, Instant now) {
    const std::lock_guard lock(mutex_);
    accounts_[host].budget.add(trigger, now);
}

void WakeBudgets::count_refusal(HostId host) {
    const std::lock_guard lock(mutex_);
    ++accounts_[host].refused;
}

std::uint64_t WakeBudgets::refused(HostId host) const {
    const std::lock_guard lock(mutex_);
    const auto found = accounts_.find(host);
    return found == accounts_.end() ? 0 : found->second.refused;
}

void WakeBudgets::forget(HostId host) {
    const std::lock_guard lock(mutex_);
    accounts_.erase(host);
}

Trigger trigger_of(const pz_event& event, ByteView frame) {
    MacAddress mac;
    std::ranges::copy(event.mac, mac.bytes.begin());
    return trigger_of(frame, mac, event.detail == PZ_ASKED_AGAIN);
}

Result<std::unique_ptr<TriggerThread>> TriggerThread::start(int ring_fd, Shared shared, Notify notify) {
    Fd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!stop)
        return fail_errno("cannot make an eventfd", errno);
    std::unique_ptr<TriggerThread> self(new TriggerThread(shared, std::move(notify), std::move(stop)));
    auto ring = PZ_TRY(fastpath::EventRing::open(
        ring_fd, [raw = self.get()](const pz_event& event, ByteView frame) { raw->on_event(event, frame); }));
    self->thread_ = std::thread([raw = self.get(), ring = std::move(ring)]() mutable { raw->run(ring); });
    return self;
}

TriggerThread::~TriggerThread() {
    if (!thread_.joinable())
        return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(stop_.get(), &one, sizeof(one));
    thread_.join();
}

void TriggerThread::run(fastpath::EventRing& ring) {
    (void)::pthread_setname_np(::pthread_self(), "trigger");
    // a wake must not wait behind a busy machine; without the privilege it may
    sched_param priority{};
    priority.sched_priority = 1;
    if (const int error = ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &priority); error != 0)
        spdlog::debug("trigger thread runs at normal priority: error {}", error);
    std::array<pollfd, 2> waits{
        {{.fd = ring.poll_fd(), .events = POLLIN, .revents = 0}, {.fd = stop_.get(), .events = POLLIN, .revents = 0}}};
    constexpr int longest_round_ms = 1000; // for is_alive()
    while (true) {
        if (::poll(waits.data(), waits.size(), longest_round_ms) < 0 && errno != EINTR)
            return;
        round_ = std::chrono::steady_clock::now();
        if ((waits[1].revents & POLLIN) != 0)
            return;
        (void)ring.consume(); // poll() comes back at once for what is left
    }
}

void TriggerThread::on_event(const pz_event& event, ByteView frame) {
    TriggerNotice notice{.event = event, .frame = {}, .address = event_address(event)};
    if (event.kind == PZ_EVENT_TRIGGER && !on_trigger(event, frame, notice))
        return;
    notice.frame.assign(frame.begin(), frame.end());
    notify_(std::move(notice));
}

/// False: the host left proxy care after the kernel saw the packet.
bool TriggerThread::on_trigger(const pz_event& event, ByteView frame, TriggerNotice& notice) {
    const auto plan = shared_.plans.get(event.host);
    if (!plan || plan->generation != event.generation)
        return false;
    notice.matters = false;
    const auto woken = woken_.find(event.host);
    const bool wakes = woken == woken_.end() || woken->second != event.generation;
    const Trigger trigger = trigger_of(event, frame);
    const Instant seen = instant_from_ns(event.time_ns);
    notice.refused = refuse_source(plan->policy, shared_.no_wake_from, trigger);
    if (!notice.refused && wakes && plan->is_asleep)
        notice.refused = shared_.budgets.ask(event.host, plan->policy, trigger, seen);
    if (notice.refused) {
        shared_.budgets.count_refusal(event.host);
        return true;
    }
    if (wakes) {
        // until the Magic Packet has left nothing here takes memory: the thread's heap grows by a page at a time, each
        // a system call and a fault
        notice.matters = true;
        notice.magic_sent = !plan->magic.empty();
        for (const auto& departure : plan->magic)
            if (auto sent = departure.socket->send(departure.frame); !sent)
                notice.magic_sent = false; // the loop tries again and reports
        notice.magic_at = std::chrono::steady_clock::now();
        woken_[event.host] = event.generation;
        if (plan->is_asleep)
            shared_.budgets.add(event.host, trigger, seen);
    }
    // a Magic Packet has done its work; everything else is somebody's first packet
    if (event.reason != PZ_REASON_TRIGGER_MAGIC && notice.address && !frame.empty()) {
        notice.refusal = shared_.hold.push(event.host, *notice.address, frame, seen);
        notice.held = notice.refusal == HoldRefusal::none;
        notice.matters |= notice.held;
    }
    return true;
}

} // namespace pz
