// SPDX-License-Identifier: Apache-2.0
// The state file: what is known of hosts beyond the life of the daemon, in SQLite.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "hosts/record.h"
#include "net/frame.h"

struct sqlite3;

namespace pz {

/// A host as the state file has it.  Times are milliseconds since 1970.
struct StoredHost {
    struct Address {
        IpAddress ip;
        std::optional<std::int64_t> valid_until = std::nullopt; // nullopt = for ever
        bool let_go = false;
        bool learned = false;
        bool operator==(const Address&) const = default;
    };
    std::string name;
    std::string file; // that configures it; empty: control created it
    HostId id = 0;
    std::uint32_t generation = 0;
    HostState state = HostState::awake;
    std::int64_t since = 0;
    std::string since_reason;
    std::uint64_t wakes = 0;
    bool wake_wanted = false;
    bool woken_to_renew = false;
    std::int64_t configured = 0;
    std::vector<Address> addresses;
    Bytes config; // as the control protocol encodes it
    bool operator==(const StoredHost&) const = default;
};

/// Hosts to write, and names of hosts that are gone.
struct StoreBatch {
    std::vector<StoredHost> hosts;
    std::vector<std::string> removed;
};

class Store {
public:
    /// What was found when the file was opened.
    struct Found {
        std::vector<StoredHost> hosts;     // all that are intact, in order of name
        std::vector<std::string> problems; // in words, each with the file's name
    };

    /// Opens `folder`/state.db for this process alone; folder (0700) and file (0600) are made if missing.  A damaged
    /// file is moved aside and what is intact of it goes into a new one.  A file that cannot be written is read, and
    /// each commit() tries again.  Errors: another daemon has it (Errc::busy), or a newer version wrote it.
    static Result<std::unique_ptr<Store>> open(const std::string& folder);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    /// What open() found; to be taken once, before anything is committed.
    Found take_found();
    /// The same, a host at a time: there may be millions.  Errors: the file cannot be read any more.
    Result<> each_found(const std::function<void(StoredHost)>& take);
    [[nodiscard]] const std::vector<std::string>& problems() const { return found_.problems; }
    /// On disk when it returns without an error; nothing of the batch is after an error.  This and what follows: any
    /// thread, one at a time.
    Result<> commit(const StoreBatch& batch);
    /// A commit() in parts: what add() was given is on disk when finish() returns without an error.  Nothing of it is
    /// after an error, or after abandon().
    Result<> begin();
    Result<> add(const StoreBatch& part);
    Result<> finish();
    void abandon();
    /// Moves what was committed from the write-ahead log to its place, if that is a lot: while nobody waits for a
    /// commit.
    void tidy();
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    struct Close {
        void operator()(sqlite3* database) const;
    };
    using Database = std::unique_ptr<sqlite3, Close>;
    /// Why a file was not opened.
    struct Trouble {
        enum class Kind : std::uint8_t { refused, damaged, unwritable } kind;
        Error error;
    };

    explicit Store(std::string path);
    std::expected<Database, Trouble> open_for_writing(bool check_rows) const;
    std::string move_aside() const;
    void recover(const std::string& path, bool whole);

    std::unexpected<Error> failed();

    std::string path_;
    Database database_; // null: cannot be written
    struct Transaction;
    std::unique_ptr<Transaction> transaction_; // between begin() and its end
    int log_pages_ = 0; // that the last commits left
    bool is_intact_ = false; // all hosts are where they were
    Found found_; // else: what could be recovered
};

} // namespace pz
