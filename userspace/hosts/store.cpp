// SPDX-License-Identifier: Apache-2.0
#include "hosts/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include <spdlog/fmt/fmt.h>
#include <sqlite3.h>

#include "base/fd.h"

namespace pz {

namespace fs = std::filesystem;

namespace {

/// PRAGMA user_version: our mark and the version of the schema.  application_id is its complement, so that damage is
/// not taken for a newer version.
constexpr std::int32_t schema_mark = 0x505a'0000;
constexpr std::int32_t schema_version = 1;
constexpr std::int32_t stamp = schema_mark | schema_version;

// One tree and nothing beside it: what is damaged in one page is missing from that page alone.
constexpr const char* create_table = "CREATE TABLE hosts(name TEXT PRIMARY KEY NOT NULL, file TEXT NOT NULL,"
                                     " id INTEGER NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL,"
                                     " since_ms INTEGER NOT NULL, since_reason TEXT NOT NULL, wakes INTEGER NOT NULL,"
                                     " wake_wanted INTEGER NOT NULL, woken_to_renew INTEGER NOT NULL,"
                                     " configured_ms INTEGER NOT NULL, addresses TEXT NOT NULL, config BLOB NOT NULL,"
                                     " sum INTEGER NOT NULL) STRICT, WITHOUT ROWID";
constexpr const char* columns = "name, file, id, generation, state, since_ms, since_reason, wakes, wake_wanted,"
                                " woken_to_renew, configured_ms, addresses, config, sum";
constexpr int column_sum = 13;
constexpr int many_pages = 1000; // in the write-ahead log
constexpr int busy_ms = 2000; // a daemon that was just killed holds its lock until the kernel has taken it apart

using Statement = std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)>;

Statement prepare(sqlite3* database, const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr);
    return {statement, sqlite3_finalize};
}

int run(sqlite3* database, const char* sql) {
    return sqlite3_exec(database, sql, nullptr, nullptr, nullptr);
}

/// The first column of the first row; empty if there is none, and then errcode() says why.
std::string ask(sqlite3* database, const char* sql) {
    const Statement statement = prepare(database, sql);
    if (!statement || sqlite3_step(statement.get()) != SQLITE_ROW)
        return {};
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 0));
    return text == nullptr ? "" : text;
}

std::int32_t number_of(const std::string& text) {
    std::int32_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

std::string reason(sqlite3* database) {
    std::string text = sqlite3_errmsg(database);
    if (const int error = sqlite3_system_errno(database);
        error != 0 && (sqlite3_errcode(database) == SQLITE_IOERR || sqlite3_errcode(database) == SQLITE_CANTOPEN))
        text += fmt::format(" ({})", std::strerror(error)); // NOLINT(concurrency-mt-unsafe): glibc's is safe
    return text;
}

// ---- a record ----

void write_text(const std::vector<StoredHost::Address>& addresses, std::string& text) {
    text.clear();
    for (const auto& address : addresses) {
        text += text.empty() ? "" : "\n";
        text += address.ip.to_string();
        if (address.valid_until)
            fmt::format_to(std::back_inserter(text), " until {}", *address.valid_until);
        else
            text += " for ever";
        text += address.let_go ? " let go" : "";
        text += address.learned ? " learned" : "";
    }
}

std::optional<std::vector<StoredHost::Address>> read_addresses(std::string_view text) {
    std::vector<StoredHost::Address> addresses;
    const auto first_of = [](std::string_view& rest, char end) {
        const std::string_view first = rest.substr(0, rest.find(end));
        rest.remove_prefix(std::min(first.size() + 1, rest.size()));
        return first;
    };
    for (std::string_view lines = text; !lines.empty();) {
        std::string_view line = first_of(lines, '\n');
        const auto parsed = IpAddress::parse(first_of(line, ' '));
        const std::string_view mode = first_of(line, ' ');
        const std::string_view until = first_of(line, ' ');
        if (!parsed)
            return std::nullopt;
        StoredHost::Address address{.ip = *parsed};
        while (!line.empty()) {
            const std::string_view word = first_of(line, ' ');
            address.let_go = address.let_go || word == "let";
            address.learned = address.learned || word == "learned";
        }
        if (mode == "until") {
            std::int64_t value = 0;
            const auto [end, error] = std::from_chars(until.data(), until.data() + until.size(), value);
            if (error != std::errc{} || end != until.data() + until.size())
                return std::nullopt;
            address.valid_until = value;
        }
        addresses.push_back(address);
    }
    return addresses;
}

/// FNV-1a over all columns: SQLite checks the structure of its pages, not what is in them.
class Sum {
public:
    void add(std::span<const std::uint8_t> bytes) {
        add(bytes.size());
        for (const std::uint8_t byte : bytes)
            mix(byte);
    }
    void add(std::string_view text) { add({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}); }
    void add(std::uint64_t number) { // its eight bytes, the lowest first: of those that are zero many at once
        std::size_t zeros = 8;
        for (; number != 0; number >>= 8, --zeros)
            mix(static_cast<std::uint8_t>(number));
        sum_ *= powers[zeros];
    }
    [[nodiscard]] std::int64_t value() const { return static_cast<std::int64_t>(sum_); }

private:
    static constexpr std::uint64_t prime = 0x100000001b3ULL;
    static constexpr std::array<std::uint64_t, 9> powers = [] {
        std::array<std::uint64_t, 9> all{1};
        for (std::size_t i = 1; i < all.size(); ++i)
            all[i] = all[i - 1] * prime;
        return all;
    }();
    void mix(std::uint8_t byte) { sum_ = (sum_ ^ byte) * prime; }
    std::uint64_t sum_ = 0xcbf29ce484222325ULL;
};

std::int64_t sum_of(const StoredHost& host, const std::string& addresses) {
    Sum sum;
    sum.add(host.name);
    sum.add(host.file);
    sum.add(std::uint64_t{host.id});
    sum.add(std::uint64_t{host.generation});
    sum.add(static_cast<std::uint64_t>(host.state));
    sum.add(static_cast<std::uint64_t>(host.since));
    sum.add(host.since_reason);
    sum.add(host.wakes);
    sum.add(std::uint64_t{host.wake_wanted});
    sum.add(std::uint64_t{host.woken_to_renew});
    sum.add(static_cast<std::uint64_t>(host.configured));
    sum.add(addresses);
    sum.add(host.config);
    return sum.value();
}

/// Until the statement steps on, as the next one.
std::string_view text_at(sqlite3_stmt* row, int column) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(row, column));
    return text == nullptr ? std::string_view()
                           : std::string_view(text, static_cast<std::size_t>(sqlite3_column_bytes(row, column)));
}

std::span<const std::uint8_t> bytes_at(sqlite3_stmt* row, int column) {
    const auto* bytes = static_cast<const std::uint8_t*>(sqlite3_column_blob(row, column));
    return {bytes, bytes == nullptr ? 0 : static_cast<std::size_t>(sqlite3_column_bytes(row, column))};
}

std::optional<HostState> state_at(sqlite3_stmt* row, int column) {
    const auto state = std::ranges::find(host_state_names, text_at(row, column),
                                         [](const char* name) { return std::string_view(name); });
    return state == host_state_names.end() ? std::nullopt
                                           : std::optional(static_cast<HostState>(state - host_state_names.begin()));
}

/// Whether the record is as it was written: what sum_of() says, without the host.
bool is_intact(sqlite3_stmt* row) {
    const auto number_at = [&](int column) { return static_cast<std::uint64_t>(sqlite3_column_int64(row, column)); };
    const auto state = state_at(row, 4);
    if (!state)
        return false;
    Sum sum;
    sum.add(text_at(row, 0));
    sum.add(text_at(row, 1));
    sum.add(number_at(2));
    sum.add(number_at(3));
    sum.add(static_cast<std::uint64_t>(*state));
    sum.add(number_at(5));
    sum.add(text_at(row, 6));
    for (const int column : {7, 8, 9, 10})
        sum.add(number_at(column));
    sum.add(text_at(row, 11));
    sum.add(bytes_at(row, 12));
    return sqlite3_column_int64(row, column_sum) == sum.value();
}

/// Of an intact record.  nullopt: it is damaged nevertheless.
std::optional<StoredHost> read_row(sqlite3_stmt* row) {
    StoredHost host;
    host.name = text_at(row, 0);
    host.file = text_at(row, 1);
    host.id = static_cast<HostId>(sqlite3_column_int64(row, 2));
    host.generation = static_cast<std::uint32_t>(sqlite3_column_int64(row, 3));
    const auto state = state_at(row, 4);
    auto addresses = read_addresses(text_at(row, 11));
    if (!state || !addresses)
        return std::nullopt;
    host.state = *state;
    host.since = sqlite3_column_int64(row, 5);
    host.since_reason = text_at(row, 6);
    host.wakes = static_cast<std::uint64_t>(sqlite3_column_int64(row, 7));
    host.wake_wanted = sqlite3_column_int64(row, 8) != 0;
    host.woken_to_renew = sqlite3_column_int64(row, 9) != 0;
    host.configured = sqlite3_column_int64(row, 10);
    host.addresses = std::move(*addresses);
    const auto config = bytes_at(row, 12);
    host.config.assign(config.begin(), config.end());
    return host;
}

/// Steps through the records until there are no more or a page is damaged: the result of the last step.
int each_row(sqlite3* database, bool descending, const std::function<void(sqlite3_stmt* row)>& visit) {
    const Statement statement =
        prepare(database, fmt::format("SELECT {} FROM hosts ORDER BY name{}", columns, descending ? " DESC" : ""));
    if (!statement)
        return sqlite3_errcode(database);
    int result = SQLITE_ROW;
    while ((result = sqlite3_step(statement.get())) == SQLITE_ROW)
        visit(statement.get());
    return result;
}

/// `host` and `addresses` have to stay until the row is written.
bool bind_row(sqlite3_stmt* statement, const StoredHost& host, const std::string& addresses) {
    int at = 0;
    bool good = true;
    const auto text = [&](std::string_view value) {
        good &= sqlite3_bind_text(statement, ++at, value.data(), static_cast<int>(value.size()), SQLITE_STATIC) ==
                SQLITE_OK;
    };
    const auto number = [&](std::uint64_t value) {
        good &= sqlite3_bind_int64(statement, ++at, static_cast<std::int64_t>(value)) == SQLITE_OK;
    };
    text(host.name);
    text(host.file);
    number(host.id);
    number(host.generation);
    text(to_string(host.state));
    number(static_cast<std::uint64_t>(host.since));
    text(host.since_reason);
    number(host.wakes);
    number(host.wake_wanted ? 1 : 0);
    number(host.woken_to_renew ? 1 : 0);
    number(static_cast<std::uint64_t>(host.configured));
    text(addresses);
    good &= sqlite3_bind_blob(statement, ++at, host.config.data(), static_cast<int>(host.config.size()),
                              SQLITE_STATIC) == SQLITE_OK;
    number(static_cast<std::uint64_t>(sum_of(host, addresses)));
    return good;
}

/// An empty state file.
bool create(sqlite3* database) {
    const auto stamps =
        fmt::format("PRAGMA user_version = {}; PRAGMA application_id = {};", std::int32_t{stamp}, ~std::int32_t{stamp});
    return run(database, "BEGIN IMMEDIATE") == SQLITE_OK && run(database, create_table) == SQLITE_OK &&
           run(database, stamps.c_str()) == SQLITE_OK && run(database, "COMMIT") == SQLITE_OK;
}

bool copy_file(const std::string& from, const std::string& to) {
    std::error_code error;
    return !fs::exists(from, error) || fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
}

/// The first page has nothing but the schema, which is the same in every state file: takes it from a new one.
void replace_first_page(const std::string& path, const std::string& fresh) {
    constexpr std::size_t page = 4096;
    std::array<char, page> bytes{};
    std::ifstream(fresh, std::ios::binary).read(bytes.data(), page);
    std::error_code error;
    const auto pages = static_cast<std::uint32_t>(fs::file_size(path, error) / page);
    for (std::size_t i = 0; i < 4; i++) // the header's size of the database in pages
        bytes[28 + i] = static_cast<char>(pages >> (24 - 8 * i));
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.write(bytes.data(), page);
}

} // namespace

void Store::Close::operator()(sqlite3* database) const {
    sqlite3_close(database);
}

struct Store::Transaction {
    Statement insert;
    Statement erase;
    std::string addresses; // of the row that is being written
};

Store::Store(std::string path) : path_(std::move(path)) {}

Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const std::string& folder) {
    std::error_code error;
    fs::create_directories(fs::path(folder).parent_path(), error);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
        error = std::error_code(errno, std::generic_category());
    std::unique_ptr<Store> store(new Store(folder + "/state.db"));
    auto opened = store->open_for_writing(true);
    store->is_intact_ = opened.has_value();
    if (!opened && opened.error().kind == Trouble::Kind::damaged) {
        std::string said = opened.error().error.message;
        const std::string aside = store->move_aside();
        store->recover(aside.empty() ? store->path_ : aside, false);
        said += aside.empty() ? "; it cannot be moved aside" : "; it is now " + aside;
        store->found_.problems.insert(
            store->found_.problems.begin(),
            fmt::format("{}; {} hosts in it are intact, other hosts may be missing", said, store->found_.hosts.size()));
        opened = aside.empty() ? std::move(opened) : store->open_for_writing(false);
    } else if (!opened && opened.error().kind == Trouble::Kind::unwritable) {
        store->recover(store->path_, true);
    }
    if (!opened && opened.error().kind == Trouble::Kind::refused)
        return std::unexpected(std::move(opened.error().error));
    if (!opened) {
        store->found_.problems.push_back(opened.error().error.message +
                                         "; hosts cannot be added, changed, removed or put to sleep until it can be");
        return store;
    }
    store->database_ = std::move(*opened);
    if (!store->found_.problems.empty()) // what was recovered
        if (auto written = store->commit({.hosts = store->found_.hosts, .removed = {}}); !written)
            store->found_.problems.push_back(written.error().message);
    return store;
}

std::expected<Store::Database, Store::Trouble> Store::open_for_writing(bool check_rows) const {
    using Kind = Trouble::Kind;
    const auto trouble = [&](Kind kind, const std::string& text) {
        return std::unexpected(Trouble{
            kind,
            {kind == Kind::refused ? Errc::busy : Errc::system, fmt::format("state {}: {}", path_, text), "state"}});
    };
    // SQLite would make it as readable as the umask allows; there are passwords in it
    if (const Fd made(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)); !made)
        return trouble(Kind::unwritable,
                       fmt::format("cannot be written: {}", std::strerror(errno))); // NOLINT(concurrency-mt-unsafe)
    sqlite3* raw = nullptr;
    const int result = sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    Database database(raw);
    const auto failed = [&] {
        // it was opened for writing above: read-only is what its header says
        switch (sqlite3_extended_errcode(raw) == SQLITE_READONLY ? SQLITE_CORRUPT : sqlite3_errcode(raw)) {
        case SQLITE_BUSY:
            return trouble(Kind::refused, "another proxzzyd has it, or another program; stop that one, or give this "
                                          "proxzzyd another --state");
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_ERROR: // our statements are right, so what they are about is not
            return trouble(Kind::damaged, "is damaged: " + reason(raw));
        default:
            return trouble(Kind::unwritable, "cannot be written: " + reason(raw));
        }
    };
    if (result != SQLITE_OK)
        return failed();
    sqlite3_busy_timeout(raw, busy_ms);
    // exclusive: the index of the write-ahead log is in memory and needs no room on a full disk
    for (const char* pragma : {"PRAGMA locking_mode = EXCLUSIVE", "PRAGMA page_size = 4096",
                               "PRAGMA secure_delete = ON", "PRAGMA temp_store = MEMORY"})
        if (run(raw, pragma) != SQLITE_OK)
            return failed();
    if (ask(raw, "PRAGMA journal_mode = WAL") != "wal")
        return failed();
    if (run(raw, "PRAGMA synchronous = FULL") != SQLITE_OK)
        return failed();
    if (const auto checked = ask(raw, "PRAGMA quick_check(1)"); checked.empty())
        return failed();
    else if (checked != "ok")
        return trouble(Kind::damaged, "is damaged: " + checked.substr(0, checked.find('\n')));
    const auto version = number_of(ask(raw, "PRAGMA user_version"));
    const auto check = number_of(ask(raw, "PRAGMA application_id"));
    if (version == 0 && check == 0 && ask(raw, "SELECT count(*) FROM sqlite_schema") == "0") {
        if (!create(raw))
            return failed();
        return database;
    }
    if (check != ~version || (version & 0x7fff'0000) != schema_mark)
        return trouble(Kind::damaged, "is damaged: its header is not that of a state file");
    if (version > stamp)
        return trouble(Kind::refused, fmt::format("a newer proxzzyd wrote it (version {}, known up to {}); run that "
                                                  "one, or give this proxzzyd another --state",
                                                  version & 0xffff, schema_version));
    if (!check_rows)
        return database;
    std::string bad;
    const int last = each_row(raw, false, [&](sqlite3_stmt* row) {
        if (bad.empty() && !is_intact(row))
            bad = fmt::format("is damaged: the record of host '{}' is not as it was written", text_at(row, 0));
    });
    if (last != SQLITE_DONE)
        return failed();
    if (!bad.empty())
        return trouble(Kind::damaged, bad);
    return database;
}

Result<> Store::each_found(const std::function<void(StoredHost)>& take) {
    if (!is_intact_) {
        for (StoredHost& host : std::exchange(found_.hosts, {}))
            take(std::move(host));
        return {};
    }
    std::string bad;
    const int last = each_row(database_.get(), false, [&](sqlite3_stmt* row) {
        if (auto host = read_row(row)) // intact it was when the file was opened
            take(std::move(*host));
        else
            bad = fmt::format("the record of host '{}' is not understood", text_at(row, 0));
    });
    if (last != SQLITE_DONE)
        bad = reason(database_.get());
    return bad.empty() ? Result<>() : fail(Errc::system, fmt::format("state {}: cannot be read: {}", path_, bad));
}

Store::Found Store::take_found() {
    Found all{.hosts = {}, .problems = found_.problems};
    if (auto read = each_found([&](StoredHost host) { all.hosts.push_back(std::move(host)); }); !read)
        all.problems.push_back(read.error().message);
    return all;
}

/// Gives the file another name, and its write-ahead log too.  Empty: not possible.
std::string Store::move_aside() const {
    for (int i = 1; i < 10'000; i++) {
        const std::string aside = fmt::format("{}.corrupt-{}", path_, i);
        std::error_code error;
        if (fs::exists(aside, error))
            continue;
        // the log first: without its file it is nothing, the file without it is only older
        if (fs::exists(path_ + "-wal", error))
            fs::rename(path_ + "-wal", aside + "-wal", error);
        if (!error)
            fs::rename(path_, aside, error);
        return error ? std::string{} : aside;
    }
    return {};
}

/// Reads a copy of `path`, from both ends until a damaged page; if not `whole`, also with a first page that is not.
void Store::recover(const std::string& path, bool whole) {
    std::error_code error;
    if (!fs::exists(path, error))
        return;
    std::string folder = (fs::temp_directory_path(error) / "proxzzyd-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) {
        found_.problems.push_back(fmt::format("state {}: cannot be read: no room for a copy in {}", path_, folder));
        return;
    }
    std::map<std::string, StoredHost> hosts;
    std::set<std::string> damaged;
    const std::string copy = folder + "/copy.db";
    const auto read = [&] {
        sqlite3* raw = nullptr;
        sqlite3_open_v2(copy.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
        const Database database(raw);
        run(raw, "PRAGMA locking_mode = EXCLUSIVE");
        const auto read_intact = [&](sqlite3_stmt* row) {
            if (auto host = is_intact(row) ? read_row(row) : std::nullopt)
                hosts.try_emplace(host->name, std::move(*host));
            else
                damaged.emplace(text_at(row, 0));
        };
        if (each_row(raw, false, read_intact) != SQLITE_DONE)
            each_row(raw, true, read_intact);
    };
    bool copied = copy_file(path, copy) && copy_file(path + "-wal", copy + "-wal");
    if (copied)
        read();
    if (copied && !whole) {
        const std::string fresh = folder + "/fresh.db";
        {
            sqlite3* raw = nullptr;
            sqlite3_open_v2(fresh.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
            const Database database(raw);
            run(raw, "PRAGMA page_size = 4096");
            copied = create(raw);
        }
        fs::remove(copy + "-wal", error);
        copied = copied && copy_file(path, copy) && copy_file(path + "-wal", copy + "-wal");
        if (copied) {
            replace_first_page(copy, fresh);
            read();
        }
    }
    fs::remove_all(folder, error);
    if (!copied)
        found_.problems.push_back(
            fmt::format("state {}: cannot be read: no copy of it can be made in {}", path_, folder));
    for (const auto& name : damaged)
        if (!hosts.contains(name))
            found_.problems.push_back(fmt::format("state {}: the record of host '{}' is damaged", path_, name));
    for (auto& [name, host] : hosts)
        found_.hosts.push_back(std::move(host));
}

Result<> Store::commit(const StoreBatch& batch) {
    PZ_TRY(begin());
    PZ_TRY(add(batch));
    return finish();
}

Result<> Store::begin() {
    if (!database_) {
        auto opened = open_for_writing(false);
        if (!opened)
            return std::unexpected(std::move(opened.error().error));
        database_ = std::move(*opened);
    }
    sqlite3* const database = database_.get();
    // in the place of SQLite's own checkpoints, for which a commit would wait
    sqlite3_wal_hook(
        database,
        [](void* pages, sqlite3*, const char*, int in_log) {
            *static_cast<int*>(pages) = in_log;
            return SQLITE_OK;
        },
        &log_pages_);
    transaction_ = std::make_unique<Transaction>(
        prepare(database, fmt::format("INSERT OR REPLACE INTO hosts({}) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)", columns)),
        prepare(database, "DELETE FROM hosts WHERE name = ?"));
    if (!transaction_->insert || !transaction_->erase || run(database, "BEGIN IMMEDIATE") != SQLITE_OK)
        return failed();
    return {};
}

Result<> Store::add(const StoreBatch& part) {
    sqlite3_stmt* const insert = transaction_->insert.get();
    sqlite3_stmt* const erase = transaction_->erase.get();
    for (const auto& host : part.hosts) {
        write_text(host.addresses, transaction_->addresses);
        if (!bind_row(insert, host, transaction_->addresses) || sqlite3_step(insert) != SQLITE_DONE)
            return failed();
        sqlite3_reset(insert);
    }
    for (const auto& name : part.removed) {
        sqlite3_bind_text(erase, 1, name.data(), static_cast<int>(name.size()), SQLITE_STATIC);
        if (sqlite3_step(erase) != SQLITE_DONE)
            return failed();
        sqlite3_reset(erase);
    }
    return {};
}

Result<> Store::finish() {
    transaction_.reset();
    return run(database_.get(), "COMMIT") == SQLITE_OK ? Result<>{} : failed();
}

void Store::tidy() {
    if (database_ && std::exchange(log_pages_, 0) >= many_pages) // what fails here is done when the file is closed
        sqlite3_wal_checkpoint_v2(database_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
}

void Store::abandon() {
    transaction_.reset();
    if (database_ && sqlite3_get_autocommit(database_.get()) == 0)
        run(database_.get(), "ROLLBACK");
}

std::unexpected<Error> Store::failed() {
    auto error =
        fail(Errc::system, fmt::format("state {}: cannot be written: {}", path_, reason(database_.get())), "state");
    abandon();
    return error;
}

} // namespace pz
