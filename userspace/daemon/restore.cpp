// SPDX-License-Identifier: Apache-2.0
// Hosts to and from the state file.
#include <algorithm>

#include <boost/asio/post.hpp>

#include <spdlog/fmt/fmt.h>

#include "control/codec.h"
#include "daemon/daemon.h"
#include "daemon/service_manager.h"

namespace pz {

namespace {

/// One moment on both clocks.
struct Clocks {
    Instant steady = std::chrono::steady_clock::now();
    std::chrono::system_clock::time_point wall = std::chrono::system_clock::now();

    [[nodiscard]] std::int64_t to_wall(Instant at) const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(wall.time_since_epoch() + (at - steady)).count();
    }
    [[nodiscard]] Instant from_wall(std::int64_t milliseconds) const {
        return steady + (std::chrono::milliseconds(milliseconds) -
                         std::chrono::duration_cast<Duration>(wall.time_since_epoch()));
    }
};

constexpr control::Header config_header{.type = PZ_MSG_HOST_SET, .flags = NLM_F_REQUEST};

Result<HostConfig> decode_config(const Bytes& bytes) {
    nlmsghdr header{};
    auto message = control::open_request(bytes, header);
    if (!message)
        return std::unexpected(std::move(message.error().error));
    auto config = control::decode<HostConfig>(*message);
    if (!config)
        return std::unexpected(std::move(config.error().error));
    return std::move(*config);
}

} // namespace

Bytes Daemon::config_row(ByteView encoded) {
    return control::with_header(config_header, encoded);
}

std::optional<StoredHost> Daemon::row_of(const std::string& name) const {
    const Host* host = table_.find(name);
    return host == nullptr ? std::nullopt : std::optional(row_of(*host));
}

StoredHost Daemon::row_of(const Host& host) const {
    Bytes config;
    if (const auto message = control::encode(config_header, host.config()))
        config.assign(message->bytes().begin(), message->bytes().end());
    return row_of(host, std::move(config));
}

StoredHost Daemon::row_of(const Host& host, Bytes config) const {
    const Clocks clocks;
    StoredHost row{.name = host.name,
                   .file = file_hosts_.origin_of(host.name),
                   .id = host.id,
                   .generation = host.generation,
                   .state = host.state,
                   .since = clocks.to_wall(host.since),
                   .since_reason = host.since_reason.get(),
                   .wakes = host.wakes,
                   .wake_wanted = host.wake_wanted,
                   .woken_to_renew = host.woken_to_renew,
                   .configured = clocks.to_wall(host.configured),
                   .addresses = {},
                   .config = std::move(config)};
    row.addresses.reserve(host.addresses.size() + host.extra->learned.size());
    for (std::size_t i = 0; i < host.addresses.size(); i++) {
        const IpAddress& ip = host.addresses[i].ip;
        const auto& ends = host.extra->valid_until;
        const auto until = ends.empty() ? std::nullopt : ends[i];
        row.addresses.push_back({.ip = ip,
                                 .valid_until = until ? std::optional(clocks.to_wall(*until)) : std::nullopt,
                                 .let_go = std::ranges::find(host.extra->let_go, ip) != host.extra->let_go.end()});
    }
    for (const LearnedAddress& learned : host.extra->learned)
        row.addresses.push_back({.ip = learned.ip, .learned = true});
    return row;
}

/// `watched`: by the programs that an earlier daemon left.
Result<> Daemon::restore_host(const StoredHost& stored, bool watched) {
    const HostConfig config = PZ_TRY(decode_config(stored.config));
    PZ_TRY(validate(config));
    const SegmentId segment = PZ_TRY(segments_->resolve(config.interface, config.vlan));
    const Port& port = *segments_->find(segment)->port;
    const Instant at = std::chrono::steady_clock::now();
    if (!has_link(port))
        react(table_.link_lost(segment), {}); // it may be new
    const Clocks clocks;
    Host host;
    host.id = stored.id;
    host.generation = stored.generation;
    host.segment = segment;
    host.configure(config);
    host.state = stored.state;
    host.since = clocks.from_wall(stored.since);
    host.since_reason = stored.since_reason;
    host.configured = clocks.from_wall(stored.configured);
    host.woken_to_renew = stored.woken_to_renew;
    host.wakes = stored.wakes;
    host.wake_wanted = stored.wake_wanted;
    std::vector<std::optional<Instant>> valid_until;
    for (const OwnAddress& address : host.addresses) {
        const auto found = std::ranges::find(stored.addresses, address.ip, &StoredHost::Address::ip);
        if (found == stored.addresses.end())
            return fail(Errc::invalid, fmt::format("the record says nothing of {}", address.ip.to_string()));
        const auto& until = found->valid_until;
        valid_until.push_back(until ? std::optional(clocks.from_wall(*until)) : std::nullopt);
        if (found->let_go)
            host.extra.edit().let_go.push_back(address.ip);
    }
    if (std::ranges::any_of(valid_until, [](const auto& until) { return until.has_value(); }))
        host.extra.edit().valid_until = std::move(valid_until);
    for (const StoredHost::Address& address : stored.addresses)
        if (address.learned)
            host.extra.edit().learned.push_back({.ip = address.ip, .used = at});
    const pz_stage stage = watched ? segments_->stage_before(port, stored.id, stored.generation) : PZ_STAGE_NONE;
    const auto effects = PZ_TRY(table_.restore(std::move(host), stage, at));
    if (!stored.file.empty()) {
        const Host* restored = table_.find(stored.name);
        file_hosts_.adopt(stored.name, {.path = stored.file, .config = restored->config()});
    }
    react(effects, {});
    return {};
}

void Daemon::restore_hosts() {
    left_at_ = fastpath_->last_heartbeat();
    if (left_at_)
        table_.skip_generations(fastpath_->last_generation());
    for (const auto& problem : state_->problems())
        record_failure(problem);
    std::size_t found = 0;
    std::size_t restored = 0;
    const auto read = state_->each_found([&](const StoredHost& stored) {
        if (found++ % PresenceTable::hosts_at_a_time == 0)
            service_manager::alive(); // many hosts take longer than the service manager waits
        table_.skip_generations(stored.generation);
        if (auto done = restore_host(stored, true); !done) {
            not_restored_.emplace(stored.name, done.error().message);
            record_failure(fmt::format("state {}: host '{}' stays there and is not served: {}", state_->path(),
                                       stored.name, done.error().message));
            return;
        }
        ++restored;
        if (!state_->problems().empty()) // the file that they are in may be the damaged one
            state_->changed(stored.name);
    });
    if (!read)
        record_failure(read.error().message);
    control::Event event;
    event.text = fmt::format("hosts from {}: {}; in proxy care: {}; {}", state_->path(), restored, table_.in_care(),
                             left_at_ ? "the kernel went on without a daemon" : "nobody watched meanwhile");
    if (found > 0)
        journal_.record(control::EventKind::restored, std::move(event));
}

/// Remembers how the host was, for commit(); `undo`: the change must not hold if it cannot be stored.
void Daemon::begin_change(std::string_view name, bool undo) {
    change_ = DurableState::Change{.name = std::string(name), .before = std::nullopt, .done = {}};
    if (undo)
        change_->before = row_of(change_->name);
}

void Daemon::commit(Committed done) {
    auto change = std::exchange(change_, std::nullopt);
    if (!change)
        return done(control::Durable::no);
    const bool holds = !change->before.has_value();
    change->done = [this, name = change->name, holds, done = std::move(done)](const Result<>& stored) {
        if (stored)
            not_restored_.erase(name); // it was replaced or removed
        if (stored)
            done(control::Durable::yes);
        else if (holds)
            done(control::Durable::no);
        else
            done(std::unexpected(Error{Errc::system, stored.error().message + "; nothing was changed"}));
    };
    state_->commit(std::move(*change));
}

void Daemon::put_back(const std::string& name, const std::optional<StoredHost>& before) {
    if (const auto is = row_of(name); is && before && is->generation == before->generation &&
                                      is->state == before->state && is->config == before->config)
        return; // nothing has come of it
    if (table_.find(name) != nullptr)
        if (auto removed = remove_host(name); !removed)
            record_failure(removed.error().message);
    if (!before && not_restored_.contains(name))
        return state_->unchanged(name);
    if (!before)
        return;
    if (auto restored = restore_host(*before, false); !restored)
        record_failure(fmt::format("host '{}' is lost: {}", name, restored.error().message));
}

} // namespace pz
