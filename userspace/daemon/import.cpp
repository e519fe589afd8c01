// SPDX-License-Identifier: Apache-2.0
// Many hosts as one change.  They are in the table as they come, so that a turn of the loop has never more to do than
// one message of them; rows go to the disk in one transaction meanwhile.  Until that has ended nobody else may change
// these hosts, so all of them can be put back.
#include <algorithm>

#include <boost/asio/post.hpp>

#include <spdlog/fmt/fmt.h>

#include "daemon/daemon.h"

namespace pz {

namespace {

/// Who began an import and sends no more of it holds up what others change.
constexpr Duration import_limit = std::chrono::seconds(10);
/// So many hosts may wait for what others have; each is tried again as long as others succeed.
constexpr std::size_t max_deferred = 1024;

/// The host is as `config` wants it; how long addresses are valid is no part of that.
bool is_same(const Host& host, const HostConfig& config) {
    return host.options.get() == static_cast<const HostOptions&>(config) && *host.offers == config.offers &&
           std::ranges::equal(host.macs, config.macs) &&
           std::ranges::equal(host.addresses, config.addresses, [](const OwnAddress& is, const HostAddress& wanted) {
               return is.ip == wanted.ip && is.temporary == wanted.temporary;
           });
}

Error in_host(const HostConfig& config, const Error& error) {
    return {error.code, fmt::format("host '{}': {}; nothing was changed", config.name, error.message), error.field};
}

} // namespace

Result<> Daemon::import_begin() {
    if (import_)
        return fail(Errc::busy, "another import is under way; try again when it is done");
    import_ = std::make_unique<Import>();
    state_->begin_bulk();
    expect_more();
    return {};
}

void Daemon::expect_more() {
    import_timer_.expires_after(import_limit);
    import_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error)
            import_abort();
    });
}

bool Daemon::is_imported(HostId id) const {
    return id < import_->hosts.size() && import_->hosts[id];
}

/// For everybody else's changes.
Result<> Daemon::not_imported(std::string_view name) const {
    if (const Host* host = import_ ? table_.find(name) : nullptr; host != nullptr && is_imported(host->id))
        return fail(Errc::busy, fmt::format("name '{}': is part of an import that is under way; try again", name),
                    "name");
    return {};
}

/// `encoded`: as the control protocol has it; empty: that is to be made.
Result<> Daemon::import_host(const HostConfig& wanted, ByteView encoded, StoreBatch& part) {
    PZ_TRY(writable(wanted.name));
    const Host* const old = table_.find(wanted.name);
    std::unique_ptr<StoredHost> before;
    if (old != nullptr) {
        if (is_imported(old->id))
            return fail(Errc::exists, fmt::format("name '{}': is there twice, once is right", wanted.name), "name");
        if (const auto& secureon = old->options.get().magic.secureon; secureon && !wanted.magic.secureon) {
            HostConfig config = wanted;
            config.magic.secureon = secureon; // which no file that was exported has
            return import_host(config, {}, part);
        }
        if (is_same(*old, wanted)) {
            ++import_->count.unchanged;
            return {};
        }
        before = std::make_unique<StoredHost>(row_of(*old));
    }
    const HostId id = PZ_TRY(put_host(wanted, true));
    ++(before ? import_->count.changed : import_->count.added);
    import_->before.emplace_back(id, std::move(before));
    if (import_->hosts.size() <= id)
        import_->hosts.resize(table_.end_of_ids());
    import_->hosts[id] = true;
    file_hosts_.forget(wanted.name);
    const Host& host = *table_.get(id);
    part.hosts.push_back(encoded.empty() ? row_of(host) : row_of(host, config_row(encoded)));
    return {};
}

Result<> Daemon::import_put(std::vector<HostConfig> hosts, const std::vector<ByteView>& encoded) {
    if (!import_ || import_->ends)
        return fail(Errc::busy, fmt::format("the import was given up, since no more of it came for {} s",
                                            std::chrono::duration_cast<std::chrono::seconds>(import_limit).count()));
    expect_more();
    StoreBatch part;
    part.hosts.reserve(hosts.size());
    for (std::size_t i = 0; i < hosts.size(); i++) {
        HostConfig& config = hosts[i];
        auto put = import_host(config, encoded[i], part);
        if (put)
            continue;
        if (put.error().code != Errc::exists || import_->deferred.size() == max_deferred) {
            import_abort();
            return std::unexpected(in_host(config, put.error()));
        }
        import_->deferred.push_back(std::move(config));
    }
    state_->add_bulk(std::move(part));
    return {};
}

void Daemon::import_when_ready(std::function<void()> ready) {
    state_->when_bulk_ready(std::move(ready));
}

/// One host may take what another one gives up.
Result<> Daemon::import_deferred(StoreBatch& part) {
    auto& deferred = import_->deferred;
    std::optional<Error> first;
    for (std::size_t before = deferred.size() + 1; deferred.size() < before;) {
        before = deferred.size();
        first.reset();
        std::erase_if(deferred, [&](const HostConfig& config) {
            auto put = import_host(config, {}, part);
            if (!put && !first)
                first = in_host(config, put.error());
            return put.has_value();
        });
    }
    return first ? Result<>(std::unexpected(std::move(*first))) : Result<>();
}

void Daemon::import_commit(std::function<void(Result<control::Imported>)> done) {
    if (!import_ || import_->ends)
        return done(fail(Errc::busy, "the import was given up"));
    StoreBatch part;
    if (auto put = import_deferred(part); !put) {
        import_abort();
        return done(std::unexpected(std::move(put.error())));
    }
    state_->add_bulk(std::move(part));
    import_->ends = true;
    import_timer_.cancel();
    state_->end_bulk(true, [this, done = std::move(done)](const Result<>& stored) {
        if (!stored) {
            done(fail(stored.error().code, stored.error().message + "; nothing was changed", stored.error().field));
            state_->begin_bulk(); // nothing is written before all of it is put back
            return import_put_back();
        }
        if (!not_restored_.empty())
            for (const auto& [id, before] : import_->before)
                if (const Host* host = table_.get(id); host != nullptr)
                    not_restored_.erase(host->name);
        const control::Imported count = import_->count;
        import_.reset();
        done(count);
    });
}

void Daemon::import_abort() {
    if (!import_ || std::exchange(import_->ends, true))
        return;
    import_timer_.cancel();
    import_put_back();
}

/// The last one first; some in each turn of the loop.
void Daemon::import_put_back() {
    auto& changes = import_->before;
    for (std::size_t i = 0; i < PresenceTable::hosts_at_a_time && !changes.empty(); i++) {
        const auto [id, before] = std::move(changes.back());
        changes.pop_back();
        const Host* host = table_.get(id);
        if (host == nullptr)
            continue;
        const std::string name = host->name;
        put_back(name, before ? std::optional(*before) : std::nullopt);
        if (!before) // nor was it on disk
            state_->unchanged(name);
    }
    if (changes.empty())
        state_->end_bulk(false, [this](const Result<>&) { import_.reset(); });
    else
        boost::asio::post(loop_, [this] { import_put_back(); });
}

} // namespace pz
