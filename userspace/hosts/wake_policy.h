// SPDX-License-Identifier: Apache-2.0
// What may wake a host besides its wake rules: from where, how often, and when.  Plain functions of (policy, trigger,
// now): the kernel has looked at protocol and port before, the trigger thread asks here, and `proxzzyctl policy test`
// asks again.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "net/frame.h"

namespace pz {

/// A time of the day in which packets wake nobody, in minutes since midnight, local time.  Over midnight if it ends
/// before it begins.
struct QuietHours {
    std::uint16_t from = 0; // included
    std::uint16_t to = 0;   // not included; never `from`
    auto operator<=>(const QuietHours&) const = default;
};

/// 0 = no limit.
struct WakePolicy {
    std::vector<Network> allow_from = {}; // empty = from anywhere
    std::vector<Network> deny_from = {}; // wins
    std::uint32_t wakes_per_hour = 60;
    std::uint32_t wakes_per_source = 30; // of those
    std::chrono::seconds min_wake_interval{0};
    std::vector<QuietHours> quiet = {};
    auto operator<=>(const WakePolicy&) const = default;
};

inline constexpr std::size_t max_networks = 32; // of each kind
inline constexpr std::size_t max_quiet = 8;
inline constexpr std::uint32_t max_wakes_per_hour = 3600;
inline constexpr std::chrono::seconds max_wake_interval = std::chrono::hours(24);

/// Errors name the field, its value and what would be right.
Result<> validate(const WakePolicy& policy);

/// "23:00-07:00"
Result<QuietHours> parse_quiet(const std::string& text);
std::string to_string(const QuietHours& quiet);

/// A packet that the kernel takes for a reason to wake the host.
struct Trigger {
    std::optional<IpAddress> source = std::nullopt; // none: a Magic Packet in Ethernet, or nobody knows
    MacAddress mac = {};
    bool is_known = true;  // false: lost, or too long to be looked at
    bool is_again = false; // its source asked before, and waited
};

/// The facts of a trigger that came as `frame`, which is empty if it was not captured.
Trigger trigger_of(ByteView frame, const MacAddress& mac, bool is_again);

/// Which rule refuses a trigger, and what it was compared with.
struct Refusal {
    enum class Rule : std::uint8_t {
        no_wake_from,
        deny_from,
        allow_from,
        quiet,
        min_wake_interval,
        wakes_per_source,
        wakes_per_hour,
        first_asked, // wakes_per_hour: what is left is for those who ask again
    };
    Rule rule = Rule::deny_from;
    std::optional<IpAddress> source = std::nullopt;
    Network network = {};
    QuietHours quiet = {};
    std::uint64_t count = 0;
    std::uint64_t limit = 0;
    bool operator==(const Refusal&) const = default;
};
/// The option: "deny-from 198.51.100.0/24", "wakes-per-hour 12"
std::string rule_of(const Refusal& refusal);
/// "198.51.100.7 is in deny-from 198.51.100.0/24", "12 wakes in the last hour, wakes-per-hour allows 12"
std::string to_string(const Refusal& refusal);

/// The wakes by packets of one host in the last hour.  What is refused leaves no trace here, so that no flood makes it
/// grow.
class WakeBudget {
public:
    void add(const Trigger& trigger, Instant now);
    struct Spent {
        std::size_t wakes = 0;
        std::size_t by_source = 0; // of the trigger
        std::optional<Duration> since_last = std::nullopt;
    };
    [[nodiscard]] Spent spent(const Trigger& trigger, Instant now) const;
    [[nodiscard]] std::size_t size() const { return wakes_.size(); }

private:
    struct Wake {
        Instant at;
        std::optional<IpAddress> source;
        MacAddress mac; // counts where there is no address
    };
    std::deque<Wake> wakes_; // in order of time
};

/// Whether the packet may have to do with the host at all, be it asleep or being woken: by where it comes from.
/// `no_wake_from` is of all hosts.
std::optional<Refusal> refuse_source(const WakePolicy& policy, const std::vector<Network>& no_wake_from,
                                     const Trigger& trigger);
/// Whether every packet may wake the host, whoever sends it and whenever it comes, until one has.
bool allows_every(const WakePolicy& policy, const std::vector<Network>& no_wake_from, const WakeBudget& budget,
                  Instant now);
/// Whether a packet that may wake it by its source may do so now.  `minute` of the local day.
std::optional<Refusal> refuse_wake(const WakePolicy& policy, const Trigger& trigger, const WakeBudget& budget,
                                   Instant now, unsigned minute);

} // namespace pz
