// SPDX-License-Identifier: Apache-2.0
#include "daemon/wake_log.h"

#include <algorithm>

namespace pz {

namespace {

/// What a record takes, about: the frame and the texts are what may be large.
std::size_t size_of(const control::Wake& wake) {
    return sizeof(wake) + wake.frame.bytes.size() + wake.packet.size() + wake.sentence.size() + wake.rule.size();
}

/// From `at` to `when`.  The kernel's clock for signs of life is coarse and may be a tick behind.
std::uint64_t after_us(Instant at, Instant when) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(std::max(when - at, Duration::zero())).count());
}

} // namespace

void WakeLog::begin(HostId host, control::Wake wake, Instant at) {
    wake.outcome = "waking";
    add(host, &History::wakes, {.at = at, .wake = std::move(wake)}, limits_.wakes_per_host);
    if (const auto found = hosts_.find(host); found != hosts_.end())
        found->second.under_way = !found->second.wakes.empty();
}

void WakeLog::magic_sent(HostId host, Instant at) {
    if (Record* record = under_way(host); record != nullptr && !record->wake.magic_after_us)
        record->wake.magic_after_us = after_us(record->at, at);
}

void WakeLog::alive(HostId host, std::string sign, Instant at) {
    if (Record* record = under_way(host); record != nullptr && !record->wake.alive_after_us) {
        record->wake.alive_after_us = after_us(record->at, at);
        record->wake.sign = std::move(sign);
    }
}

void WakeLog::delivered(HostId host, Instant at) {
    if (Record* record = under_way(host); record != nullptr) {
        ++record->wake.delivered;
        if (!record->wake.delivered_after_us)
            record->wake.delivered_after_us = after_us(record->at, at);
    }
}

void WakeLog::dropped(HostId host, std::size_t packets) {
    if (Record* record = under_way(host); record != nullptr)
        record->wake.dropped += static_cast<std::uint32_t>(packets);
}

void WakeLog::outcome(HostId host, std::string outcome) {
    if (Record* record = under_way(host); record != nullptr)
        record->wake.outcome = std::move(outcome);
}

void WakeLog::end(HostId host) {
    if (const auto found = hosts_.find(host); found != hosts_.end())
        found->second.under_way = false;
}

void WakeLog::not_woken(HostId host, control::Wake packet) {
    packet.outcome = "not-woken";
    if (const auto found = hosts_.find(host); found != hosts_.end() && !found->second.non_wakes.empty()) {
        control::Wake& last = found->second.non_wakes.back().wake;
        if (last.reason == packet.reason && last.rule == packet.rule && last.packet == packet.packet) {
            ++last.count;
            last.time_ns = packet.time_ns;
            return;
        }
    }
    add(host, &History::non_wakes, {.wake = std::move(packet)}, limits_.non_wakes_per_host);
}

void WakeLog::forget(HostId host) {
    const auto found = hosts_.find(host);
    if (found == hosts_.end())
        return;
    for (const Records* list : {&found->second.wakes, &found->second.non_wakes})
        for (const Record& record : *list) {
            bytes_ -= size_of(record.wake);
            by_number_.erase(record.number);
        }
    hosts_.erase(found);
}

std::vector<control::Wake> WakeLog::of(HostId host) const {
    std::vector<control::Wake> all;
    const auto found = hosts_.find(host);
    if (found == hosts_.end())
        return all;
    for (const Records* list : {&found->second.wakes, &found->second.non_wakes})
        for (const Record& record : *list)
            all.push_back(record.wake);
    std::ranges::sort(all, {}, &control::Wake::time_ns);
    return all;
}

WakeLog::Record* WakeLog::under_way(HostId host) {
    const auto found = hosts_.find(host);
    return found == hosts_.end() || !found->second.under_way ? nullptr : &found->second.wakes.back();
}

void WakeLog::add(HostId host, Records History::* list, Record record, std::size_t limit) {
    record.number = next_number_++;
    bytes_ += size_of(record.wake);
    by_number_.emplace(record.number, std::pair(host, list));
    Records& records = hosts_[host].*list;
    records.push_back(std::move(record));
    if (records.size() > limit)
        drop_oldest(host, list);
    while (bytes_ > limits_.bytes) {
        const auto [owner, its_list] = by_number_.begin()->second; // the oldest of a list is at its front
        drop_oldest(owner, its_list);
    }
}

void WakeLog::drop_oldest(HostId host, Records History::* list) {
    History& history = hosts_.at(host);
    Records& records = history.*list;
    bytes_ -= size_of(records.front().wake);
    by_number_.erase(records.front().number);
    records.pop_front();
    if (history.wakes.empty())
        history.under_way = false;
    if (history.wakes.empty() && history.non_wakes.empty())
        hosts_.erase(host);
}

} // namespace pz
