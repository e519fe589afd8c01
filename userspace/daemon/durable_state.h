// SPDX-License-Identifier: Apache-2.0
// The way of hosts to the disk: what changed is gathered in the loop and written by a thread, a batch at a time, so
// that requests that come together share one flush.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/result.h"
#include "hosts/store.h"

namespace pz {

/// Lives in the loop thread.
class DurableState {
public:
    struct Hooks {
        std::function<std::optional<StoredHost>(const std::string& name)> row; // of a host, now; nullopt: there is none
        /// Makes a host what it was; nullopt: it was not there.
        std::function<void(const std::string& name, const std::optional<StoredHost>& before)> put_back;
        std::function<void(const Error& error)> failed; // told for each batch that could not be written
    };
    /// A change that somebody waits for.
    struct Change {
        std::string name;
        /// As it was; nothing: the change holds even if it cannot be stored.
        std::optional<std::optional<StoredHost>> before;
        /// Hears whether it is on disk.
        std::function<void(const Result<>&)> done;
    };

    DurableState(boost::asio::io_context& loop, std::unique_ptr<Store> store, Hooks hooks);
    /// Writes what is left.  Nobody hears of it any more.
    ~DurableState();
    DurableState(const DurableState&) = delete;
    DurableState& operator=(const DurableState&) = delete;

    /// The host is to be written soon, or erased if it is gone.
    void changed(std::string name);
    /// What is on disk of it is to stay.
    void unchanged(const std::string& name);
    /// changed(), and `done` is called when everything up to here is on disk.  If it cannot be written, this and every
    /// later change that has not been acknowledged are undone, the last one first.
    void commit(Change change);

    /// Rows that go to disk together, however many there are; what else changes is written after them.
    void begin_bulk();
    void add_bulk(StoreBatch part);
    /// `ready` is called, now or later, when parts do not pile up in front of the disk.
    void when_bulk_ready(std::function<void()> ready);
    /// `keep`: `done` hears whether they are on disk.  Else nothing of them is, nor after an error.
    void end_bulk(bool keep, std::function<void(const Result<>&)> done);

    [[nodiscard]] const std::string& path() const { return store_->path(); }
    /// What was there at the start, before anything is written: see Store.
    [[nodiscard]] const std::vector<std::string>& problems() const { return store_->problems(); }
    Result<> each_found(const std::function<void(StoredHost)>& take) { return store_->each_found(take); }

private:
    void flush_soon();
    void flush();
    void on_written(const Result<>& result);
    StoreBatch take_batch();

    boost::asio::io_context& loop_;
    std::unique_ptr<Store> store_;
    Hooks hooks_;
    boost::asio::steady_timer retry_;
    std::set<std::string> changed_;
    std::vector<Change> waiting_;
    std::set<std::string> in_work_; // the batch that is being written
    std::vector<Change> waiting_in_work_;
    struct Bulk {
        Result<> result; // the writer's; the first error
        std::size_t parts = 0; // the loop's: on their way to the writer
        std::function<void()> ready;
    };
    std::shared_ptr<Bulk> bulk_; // under way
    bool posted_ = false;
    bool writing_ = false;
    boost::asio::thread_pool writer_{1}; // ends first
};

} // namespace pz
