// SPDX-License-Identifier: Apache-2.0
#include "daemon/trigger_thread.h"

#include <malloc.h>
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

std::vector<Departure> magic_frames(const MagicRoute& route, std::span<const MacAddress> macs,
                                    const MagicOptions& options) {
    std::vector<Departure> frames;
    if (!route.socket)
        return frames;
    for (const MacAddress& mac : macs) {
        frames.push_back({route.socket, build_magic_ethernet(route.sender, mac, options.secureon, route.tags)});
        if (route.source)
            frames.push_back({route.socket, build_magic_udp(route.sender, *route.source, mac, options.udp_port,
                                                            options.secureon, route.tags)});
    }
    return frames;
}

void WakePlans::set(const Host& host, bool sends) {
    const std::lock_guard lock(mutex_);
    if (entries_.size() <= host.id)
        entries_.resize(host.id + 1);
    entries_[host.id] = {.generation = host.generation,
                         .segment = host.segment,
                         .options = host.options,
                         .mac = host.macs.front(),
                         .sends = sends,
                         .is_asleep = host.state == HostState::asleep};
    macs_.erase(host.id);
    if (host.macs.size() > 1)
        macs_[host.id].assign(host.macs.begin(), host.macs.end());
}

void WakePlans::set_route(SegmentId segment, MagicRoute route) {
    const std::lock_guard lock(mutex_);
    routes_[segment] = std::move(route);
}

void WakePlans::erase(HostId host) {
    const std::lock_guard lock(mutex_);
    if (host < entries_.size())
        entries_[host] = {};
    macs_.erase(host);
}

std::optional<WakePlan> WakePlans::get(HostId host) const {
    const std::lock_guard lock(mutex_);
    if (host >= entries_.size() || entries_[host].generation == 0)
        return std::nullopt;
    const Entry& entry = entries_[host];
    const HostOptions& options = entry.options;
    WakePlan plan{.generation = entry.generation, .magic = {}, .policy = options.policy, .is_asleep = entry.is_asleep};
    const auto route = routes_.find(entry.segment);
    if (!entry.sends || route == routes_.end())
        return plan;
    const auto all = macs_.find(host);
    plan.magic = magic_frames(route->second, all == macs_.end() ? std::span(&entry.mac, 1) : std::span(all->second),
                              options.magic);
    return plan;
}

std::optional<IpAddress> event_address(const pz_event& event) {
    if (event.family == PZ_FAMILY_NONE)
        return std::nullopt;
    return IpAddress::from_bytes(std::span(event.address).first(event.family == PZ_FAMILY_4 ? 4 : 16));
}

const WakeBudget& WakeBudgets::budget_of(HostId host) const {
    static const WakeBudget unspent;
    const auto found = accounts_.find(host);
    return found == accounts_.end() ? unspent : found->second.budget;
}

std::optional<Refusal> WakeBudgets::ask(HostId host, const WakePolicy& policy, const Trigger& trigger,
                                        Instant now) const {
    const std::lock_guard lock(mutex_);
    return refuse_wake(policy, trigger, budget_of(host), now, minute_for(policy));
}

bool WakeBudgets::allows_every(HostId host, const WakePolicy& policy, const std::vector<Network>& no_wake_from,
                               Instant now) const {
    const std::lock_guard lock(mutex_);
    return pz::allows_every(policy, no_wake_from, budget_of(host), now);
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
    // else the thread's heap grows by a page at a time, each a system call and a fault between a trigger and its Magic
    // Packet
    (void)::mallopt(M_TOP_PAD, 1 << 20); // NOLINT(concurrency-mt-unsafe): glibc takes its lock
    std::array<pollfd, 2> waits{
        {{.fd = ring.poll_fd(), .events = POLLIN, .revents = 0}, {.fd = stop_.get(), .events = POLLIN, .revents = 0}}};
    constexpr int longest_round_ms = 1000; // for is_alive()
    bool emptied = true;
    while (true) {
        // what was left is not told again: nobody was woken for it
        if (::poll(waits.data(), waits.size(), emptied ? longest_round_ms : 0) < 0 && errno != EINTR)
            return;
        round_ = std::chrono::steady_clock::now();
        if ((waits[1].revents & POLLIN) != 0)
            return;
        emptied = ring.consume();
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
        // what takes memory and can wait does so until the Magic Packet has left
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
