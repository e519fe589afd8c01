// SPDX-License-Identifier: Apache-2.0
#include "daemon/durable_state.h"

#include <ranges>
#include <utility>

#include <boost/asio/post.hpp>

#include <spdlog/spdlog.h>

namespace pz {

namespace {

/// What nobody waits for is tried again after so long.
constexpr auto retry_interval = std::chrono::seconds(2);

/// So many parts of a bulk wait for the disk before whoever makes them has to.
constexpr std::size_t max_parts = 8;

} // namespace

DurableState::DurableState(boost::asio::io_context& loop, std::unique_ptr<Store> store, Hooks hooks)
    : loop_(loop), store_(std::move(store)), hooks_(std::move(hooks)), retry_(loop) {}

DurableState::~DurableState() {
    writer_.join();
    store_->abandon(); // a bulk that nobody can end any more
    if (writing_) // its outcome is not known here; once more does no harm
        changed_.merge(in_work_);
    if (changed_.empty())
        return;
    if (auto written = store_->commit(take_batch()); !written)
        spdlog::error("{}", written.error().message);
}

void DurableState::changed(std::string name) {
    changed_.insert(std::move(name));
    flush_soon();
}

void DurableState::unchanged(const std::string& name) {
    changed_.erase(name);
}

void DurableState::commit(Change change) {
    changed_.insert(change.name);
    waiting_.push_back(std::move(change));
    flush_soon();
}

/// At the end of this turn of the loop: what happens together is written together.
void DurableState::flush_soon() {
    if (writing_ || std::exchange(posted_, true))
        return;
    boost::asio::post(loop_, [this] {
        posted_ = false;
        flush();
    });
}

StoreBatch DurableState::take_batch() {
    StoreBatch batch;
    for (const auto& name : changed_) {
        if (auto row = hooks_.row(name))
            batch.hosts.push_back(std::move(*row));
        else
            batch.removed.push_back(name);
    }
    in_work_ = std::exchange(changed_, {});
    return batch;
}

void DurableState::flush() {
    if (writing_ || bulk_ || changed_.empty())
        return;
    writing_ = true;
    waiting_in_work_ = std::exchange(waiting_, {});
    boost::asio::post(writer_, [this, batch = take_batch()] {
        auto result = store_->commit(batch);
        boost::asio::post(loop_, [this, result = std::move(result)] { on_written(result); });
        store_->tidy();
    });
}

void DurableState::begin_bulk() {
    bulk_ = std::make_shared<Bulk>();
    boost::asio::post(writer_, [this, bulk = bulk_] { bulk->result = store_->begin(); });
}

void DurableState::add_bulk(StoreBatch part) {
    ++bulk_->parts;
    boost::asio::post(writer_, [this, bulk = bulk_, part = std::move(part)] {
        if (bulk->result)
            bulk->result = store_->add(part);
        boost::asio::post(loop_, [bulk] {
            if (--bulk->parts < max_parts && bulk->ready)
                std::exchange(bulk->ready, nullptr)();
        });
    });
}

void DurableState::when_bulk_ready(std::function<void()> ready) {
    if (bulk_->parts < max_parts)
        ready();
    else
        bulk_->ready = std::move(ready);
}

void DurableState::end_bulk(bool keep, std::function<void(const Result<>&)> done) {
    boost::asio::post(writer_, [this, bulk = bulk_, keep, done = std::move(done)] {
        if (!keep)
            store_->abandon();
        else if (bulk->result)
            bulk->result = store_->finish();
        boost::asio::post(loop_, [this, bulk, done] {
            bulk_.reset();
            done(bulk->result);
            if (!changed_.empty())
                flush_soon();
        });
        store_->tidy();
    });
}

void DurableState::on_written(const Result<>& result) {
    writing_ = false;
    auto told = std::exchange(waiting_in_work_, {});
    if (!result) {
        changed_.merge(in_work_);
        std::ranges::move(std::exchange(waiting_, {}), std::back_inserter(told)); // these build on what failed
        hooks_.failed(result.error());
        for (const Change& change : std::views::reverse(told))
            if (change.before)
                hooks_.put_back(change.name, *change.before);
        retry_.expires_after(retry_interval);
        retry_.async_wait([this](const boost::system::error_code& error) {
            if (!error)
                flush();
        });
    }
    in_work_.clear();
    for (const Change& change : told)
        change.done(result);
    if (result && !changed_.empty())
        flush_soon();
}

} // namespace pz
