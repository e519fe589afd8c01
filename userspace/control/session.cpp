// SPDX-License-Identifier: Apache-2.0
#include "control/session.h"

#include <algorithm>
#include <array>
#include <chrono>

#include <spdlog/fmt/fmt.h>

namespace pz::control {

namespace {

constexpr std::uint16_t common_flags = NLM_F_REQUEST | NLM_F_ACK;
constexpr std::uint16_t set_flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE;

struct Command {
    std::uint16_t type;
    const char* name;
    std::uint16_t flags; // besides common_flags
    bool for_all;        // also for peers that may not write
    bool changes;        // worth an event
};
constexpr std::array commands{
    Command{PZ_MSG_CAPABILITIES_GET, "capabilities", 0, true, false},
    Command{PZ_MSG_STATUS_GET, "status", 0, true, false},
    Command{PZ_MSG_STATS_GET, "stats", NLM_F_DUMP, true, false},
    Command{PZ_MSG_HOST_GET, "host get", NLM_F_DUMP, false, false},
    Command{PZ_MSG_HOST_SET, "host set", set_flags, false, true},
    Command{PZ_MSG_HOST_BEGIN, "host begin", set_flags, false, false},
    Command{PZ_MSG_HOST_PUT, "host put", 0, false, false},
    Command{PZ_MSG_HOST_COMMIT, "host commit", 0, false, true},
    Command{PZ_MSG_HOST_DELETE, "host delete", 0, false, true},
    Command{PZ_MSG_HOST_SLEEP, "host sleep", 0, false, true},
    Command{PZ_MSG_HOST_WAKE, "host wake", 0, false, true},
    Command{PZ_MSG_HOST_RELEASE, "host release", 0, false, true},
    Command{PZ_MSG_DETACH, "detach", 0, false, true},
    Command{PZ_MSG_EVENTS_GET, "events", NLM_F_DUMP, false, false},
    Command{PZ_MSG_WAKES_GET, "wakes", NLM_F_DUMP, false, false},
    Command{PZ_MSG_EXPLAIN, "explain", 0, false, false},
    Command{PZ_MSG_IMPORT_BEGIN, "import begin", 0, false, false},
    Command{PZ_MSG_IMPORT_PUT, "import put", 0, false, false},
    Command{PZ_MSG_IMPORT_COMMIT, "import commit", 0, false, true},
};

Decoded<> check_flags(std::uint16_t flags, std::uint16_t allowed) {
    if ((flags & NLM_F_REQUEST) == 0)
        return refuse({Errc::invalid, fmt::format("nlmsg_flags: are {:#x}, NLM_F_REQUEST (0x1) is missing", flags),
                       "nlmsg_flags"});
    if (const unsigned unknown = flags & ~(common_flags | unsigned{allowed}); unknown != 0)
        return refuse({Errc::invalid,
                       fmt::format("nlmsg_flags: are {:#x}, of which {:#x} is not for this request", flags, unknown),
                       "nlmsg_flags"});
    return {};
}

Decoded<> check_is_dump(std::uint16_t flags) {
    if ((flags & NLM_F_DUMP) == NLM_F_DUMP)
        return {};
    return refuse(
        {Errc::invalid, fmt::format("nlmsg_flags: are {:#x}, NLM_F_DUMP (0x300) is missing", flags), "nlmsg_flags"});
}

Decoded<> check_set_flags(std::uint16_t flags) {
    const unsigned given = flags & set_flags;
    if (given == (NLM_F_CREATE | NLM_F_EXCL) || given == (NLM_F_CREATE | NLM_F_REPLACE) || given == NLM_F_REPLACE)
        return {};
    return refuse({Errc::invalid,
                   fmt::format("nlmsg_flags: are {:#x}, must have NLM_F_CREATE | NLM_F_EXCL (0x600, "
                               "add), NLM_F_CREATE | NLM_F_REPLACE (0x500, add or change) or "
                               "NLM_F_REPLACE (0x100, change)",
                               flags),
                   "nlmsg_flags"});
}

Header answer_header(const nlmsghdr& request, std::uint16_t type, std::uint16_t flags) {
    return {type, flags, request.nlmsg_seq, request.nlmsg_pid};
}

/// A refusal by the service, at the attribute of `request`, a T, that it names.
template <class T = HostConfig>
std::unexpected<Refusal> blame(Error error, const Received& request) {
    const auto offset = find_attribute<T>(request, error.field);
    return refuse(std::move(error), offset);
}

} // namespace

template <class Then>
auto Session::when_back(Then then) {
    return [this, then = std::move(then), is_there = std::weak_ptr(is_there_)](auto&&... result) {
        if (is_there.expired())
            return;
        waits_ = false;
        then(std::forward<decltype(result)>(result)...);
        if (on_ready)
            on_ready();
    };
}

void Session::receive(std::span<const std::uint8_t> packet, bool truncated) {
    nlmsghdr header{};
    host_.clear();
    is_change_ = false;
    is_told_ = false;
    later_ = nullptr;
    auto outcome = [&]() -> Decoded<Acknowledgement> {
        auto request = open_request(packet, header);
        if (truncated)
            return refuse({Errc::limit,
                           fmt::format("nlmsg_len: the message is longer than {} bytes; a large record "
                                       "goes by HOST_BEGIN, HOST_PUT and HOST_COMMIT",
                                       PZ_CONTROL_MAX_MESSAGE),
                           "nlmsg_len"});
        return dispatch(PZ_TRY(std::move(request)));
    }();
    if (outcome && later_) {
        waits_ = true;
        return std::exchange(later_, nullptr)(header);
    }
    if (!outcome || !is_change_)
        return finish(header, std::move(outcome));
    waits_ = true;
    service_.commit(when_back([this, header](const Result<Durable>& durable) {
        if (durable)
            finish(header, Acknowledgement{.message = {}, .durable = *durable});
        else
            finish(header, refuse(durable.error()));
    }));
}

void Session::finish(const nlmsghdr& header, Decoded<Acknowledgement> outcome) {
    tell(header, outcome);
    const bool dumps = dump_ || header.nlmsg_type == PZ_MSG_EVENTS_GET;
    if (outcome && (header.nlmsg_flags & NLM_F_ACK) != 0 && !dumps)
        answers_.push_back(encode_acknowledgement(header, 0, std::move(*outcome)));
    if (!outcome) {
        // what follows of a record that had a bad part must not be applied
        if (header.nlmsg_type == PZ_MSG_HOST_PUT || header.nlmsg_type == PZ_MSG_HOST_COMMIT)
            record_.reset();
        Refusal& refusal = outcome.error();
        answers_.push_back(encode_acknowledgement(
            header, to_errno(refusal.error.code),
            {std::move(refusal.error.message), refusal.offset, refusal.missing_type, refusal.missing_nest}));
    }
}

/// Changes, and everything that is refused, are events.
void Session::tell(const nlmsghdr& request, const Decoded<Acknowledgement>& outcome) {
    const auto* command = std::ranges::find(commands, request.nlmsg_type, &Command::type);
    const bool known = command != commands.end();
    if (is_told_ || (outcome && !(known && command->changes)))
        return;
    Event event;
    event.text = known ? command->name : fmt::format("message type {}", request.nlmsg_type);
    event.host = host_;
    event.uid = requester_.uid;
    event.pid = requester_.pid;
    if (outcome)
        return service_.journal().record(EventKind::request, std::move(event));
    event.text += ": " + outcome.error().error.message;
    if (may_write_)
        service_.journal().record(EventKind::request_refused, std::move(event));
    else
        service_.journal().record(EventKind::request_refused, std::move(event), service_.journal().strangers(),
                                  std::chrono::steady_clock::now());
}

std::optional<Message> Session::next() {
    may_wait_ = false;
    if (!answers_.empty()) {
        Message message = std::move(answers_.front());
        answers_.pop_front();
        return message;
    }
    if (dump_) {
        if (auto message = dump_())
            return message;
        dump_ = nullptr;
    }
    return stream_ ? next_event(*stream_) : std::nullopt;
}

void Session::end() {
    if (std::exchange(imports_, false))
        service_.import_abort();
}

void Session::end_following() {
    if (!stream_)
        return;
    stream_->wanted.follow = false;
    stream_->last = service_.journal().last();
}

std::optional<Message> Session::next_event(Stream& stream) {
    const Journal& journal = service_.journal();
    const Header header = answer_header(stream.request, PZ_MSG_EVENT, NLM_F_MULTI);
    const std::uint64_t last = stream.wanted.follow ? journal.last() : stream.last;
    may_wait_ = true;
    while (stream.next <= last) {
        if (const std::uint64_t first = journal.first(); stream.next < first) {
            const std::uint64_t missed = std::min(first, last + 1) - stream.next;
            stream.next += missed;
            if (auto message = encode(header, Journal::lost(missed, stream.next - 1)))
                return std::move(*message);
            continue;
        }
        const Journal::Entry& entry = journal.at(stream.next++);
        if (!entry.message.empty() && (stream.wanted.host.empty() || stream.wanted.host == entry.host))
            return readdress(entry.message, header);
    }
    may_wait_ = false;
    if (stream.wanted.follow)
        return std::nullopt;
    Message done = encode_done(stream.request);
    stream_.reset();
    return done;
}

Decoded<Acknowledgement> Session::dispatch(const Received& request) {
    const std::uint16_t type = request.header.nlmsg_type;
    const auto* command = std::ranges::find(commands, type, &Command::type);
    if (command == commands.end())
        return refuse({Errc::unsupported,
                       fmt::format("nlmsg_type: {} is not a request that this version of the "
                                   "protocol has",
                                   type),
                       "nlmsg_type"});
    PZ_TRY(check_flags(request.header.nlmsg_flags, command->flags));
    if (!command->for_all && !may_write_)
        return refuse({Errc::permission,
                       "permission denied: only root and members of the group " PZ_CONTROL_GROUP
                       " may read hosts or change anything",
                       {}});
    switch (type) {
    case PZ_MSG_CAPABILITIES_GET:
        PZ_TRY(decode<Nothing>(request));
        return answer(request, service_.capabilities());
    case PZ_MSG_STATUS_GET:
        PZ_TRY(decode<Nothing>(request));
        return answer(request, service_.status());
    case PZ_MSG_STATS_GET:
        return stats(request);
    case PZ_MSG_HOST_GET:
        return host_get(request);
    case PZ_MSG_HOST_SET:
        return host_set(request);
    case PZ_MSG_HOST_BEGIN:
        return host_begin(request);
    case PZ_MSG_HOST_PUT:
        return host_put(request);
    case PZ_MSG_HOST_COMMIT:
        return host_commit(request);
    case PZ_MSG_HOST_DELETE:
        return host_change(request, &Service::host_remove);
    case PZ_MSG_HOST_SLEEP:
        return host_change(request, &Service::host_sleep);
    case PZ_MSG_HOST_WAKE:
        return host_change(request, &Service::host_wake);
    case PZ_MSG_HOST_RELEASE:
        return host_change(request, &Service::host_release);
    case PZ_MSG_EVENTS_GET:
        return events(request);
    case PZ_MSG_WAKES_GET:
        return wakes(request);
    case PZ_MSG_EXPLAIN:
        return explain(request);
    case PZ_MSG_IMPORT_BEGIN:
        return import_begin(request);
    case PZ_MSG_IMPORT_PUT:
        return import_put(request);
    case PZ_MSG_IMPORT_COMMIT:
        return import_commit(request);
    default: // PZ_MSG_DETACH
        PZ_TRY(decode<Nothing>(request));
        if (auto result = service_.detach(); !result)
            return refuse(std::move(result.error()));
        return Acknowledgement{};
    }
}

template <class T>
Decoded<Acknowledgement> Session::answer(const Received& request, const T& body) {
    auto message = encode(answer_header(request.header, Schema<T>::message, 0), body);
    if (!message)
        return refuse(std::move(message.error()));
    answers_.push_back(std::move(*message));
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::stats(const Received& request) {
    PZ_TRY(decode<Nothing>(request));
    PZ_TRY(check_is_dump(request.header.nlmsg_flags));
    dump_ = [header = request.header, counters = service_.stats(),
             i = std::size_t{0}]() mutable -> std::optional<Message> {
        while (i < counters.size())
            if (auto message = encode(answer_header(header, PZ_MSG_COUNTER, NLM_F_MULTI), counters[i++]))
                return std::move(*message);
        if (i++ == counters.size())
            return encode_done(header);
        return std::nullopt;
    };
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::host_get(const Received& request) {
    const unsigned dump = request.header.nlmsg_flags & NLM_F_DUMP;
    if (dump == 0) {
        host_ = PZ_TRY(decode<HostName>(request)).name;
        auto status = service_.host_get(host_);
        if (!status)
            return blame(std::move(status.error()), request);
        return answer(request, *status);
    }
    if (dump != NLM_F_DUMP)
        return refuse({Errc::invalid,
                       fmt::format("nlmsg_flags: are {:#x}, must have all of NLM_F_DUMP (0x300) or "
                                   "nothing of it",
                                   request.header.nlmsg_flags),
                       "nlmsg_flags"});
    PZ_TRY(decode<Nothing>(request));
    dump_ = [this, header = request.header, names = service_.host_names(),
             i = std::size_t{0}]() mutable -> std::optional<Message> {
        while (i < names.size()) {
            const auto status = service_.host_get(names[i++]);
            if (!status) // removed since the dump began
                continue;
            if (auto message = encode(answer_header(header, PZ_MSG_HOST, NLM_F_MULTI), *status))
                return std::move(*message);
        }
        if (i++ == names.size())
            return encode_done(header);
        return std::nullopt;
    };
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::events(const Received& request) {
    EventsWanted wanted = PZ_TRY(decode<EventsWanted>(request));
    host_ = wanted.host;
    PZ_TRY(check_is_dump(request.header.nlmsg_flags));
    if (wanted.new_only && !wanted.follow)
        return refuse(
            {Errc::invalid, "new-only: is 1, must be 0 without follow: there would be nothing to send", "new-only"});
    if (stream_)
        return refuse({Errc::busy, "EVENTS_GET: events are followed on this connection already, open another", {}});
    const Journal& journal = service_.journal();
    stream_ = Stream{.request = request.header, .wanted = std::move(wanted), .last = journal.last()};
    stream_->next = stream_->wanted.new_only ? journal.last() + 1 : journal.first();
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::wakes(const Received& request) {
    host_ = PZ_TRY(decode<HostName>(request)).name;
    PZ_TRY(check_is_dump(request.header.nlmsg_flags));
    auto wakes = service_.wakes(host_);
    if (!wakes)
        return blame(std::move(wakes.error()), request);
    dump_ = [header = request.header, wakes = std::move(*wakes),
             i = std::size_t{0}]() mutable -> std::optional<Message> {
        while (i < wakes.size())
            if (auto message = encode(answer_header(header, PZ_MSG_WAKE, NLM_F_MULTI), wakes[i++]))
                return std::move(*message);
        if (i++ == wakes.size())
            return encode_done(header);
        return std::nullopt;
    };
    return Acknowledgement{};
}

Result<> Session::apply(HostConfig config, std::uint16_t flags) {
    if ((flags & NLM_F_CREATE) == 0)
        PZ_TRY(service_.host_get(config.name));
    PZ_TRY(service_.host_set(std::move(config), (flags & NLM_F_REPLACE) != 0));
    is_change_ = true;
    return {};
}

Decoded<Acknowledgement> Session::host_set(const Received& request) {
    PZ_TRY(check_set_flags(request.header.nlmsg_flags));
    if (record_)
        return refuse({Errc::busy,
                       fmt::format("HOST_SET: a record of host \"{}\" is open on this connection, "
                                   "HOST_COMMIT must come first",
                                   record_->config.name),
                       {}});
    HostConfig config = PZ_TRY(decode<HostConfig>(request));
    host_ = config.name;
    if (auto applied = apply(std::move(config), request.header.nlmsg_flags); !applied)
        return blame(std::move(applied.error()), request);
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::host_begin(const Received& request) {
    PZ_TRY(check_set_flags(request.header.nlmsg_flags));
    if (record_)
        return refuse({Errc::busy,
                       fmt::format("HOST_BEGIN: a record of host \"{}\" is open on this connection, "
                                   "HOST_COMMIT must come first",
                                   record_->config.name),
                       {}});
    host_ = PZ_TRY(decode<HostName>(request)).name;
    Record record;
    record.flags = request.header.nlmsg_flags;
    PZ_TRY(decode_part(request, record.config, record.seen)); // the name counts as seen from here on
    record_ = std::move(record);
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::host_put(const Received& request) {
    if (!record_)
        return refuse(
            {Errc::invalid, "HOST_PUT: no record is open on this connection, HOST_BEGIN must come first", {}});
    host_ = record_->config.name;
    if (++record_->parts > PZ_CONTROL_MAX_PARTS)
        return refuse({Errc::limit,
                       fmt::format("HOST_PUT: the record of host \"{}\" has more than {} parts", record_->config.name,
                                   PZ_CONTROL_MAX_PARTS),
                       {}});
    record_->bytes += request.attributes.size();
    if (record_->bytes > PZ_CONTROL_MAX_RECORD)
        return refuse({Errc::limit,
                       fmt::format("HOST_PUT: the record of host \"{}\" is longer than {} bytes", record_->config.name,
                                   PZ_CONTROL_MAX_RECORD),
                       {}});
    PZ_TRY(decode_part(request, record_->config, record_->seen));
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::host_commit(const Received& request) {
    if (!record_)
        return refuse(
            {Errc::invalid, "HOST_COMMIT: no record is open on this connection, HOST_BEGIN must come first", {}});
    PZ_TRY(decode<Nothing>(request));
    Record record = std::move(*record_);
    record_.reset();
    host_ = record.config.name;
    if (auto applied = apply(std::move(record.config), record.flags); !applied)
        return refuse(std::move(applied.error()));
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::host_change(const Received& request, Result<> (Service::*change)(std::string_view)) {
    host_ = PZ_TRY(decode<HostName>(request)).name;
    if (auto changed = (service_.*change)(host_); !changed)
        return blame(std::move(changed.error()), request);
    is_change_ = true;
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::import_begin(const Received& request) {
    PZ_TRY(decode<Nothing>(request));
    if (auto begun = service_.import_begin(); !begun)
        return refuse(std::move(begun.error()));
    imports_ = true;
    import_refused_ = false;
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::import_put(const Received& request) {
    is_told_ = import_refused_; // it was sent before the client heard of that
    if (!imports_)
        return refuse({Errc::invalid, "IMPORT_PUT: no import is open here, IMPORT_BEGIN must come first", {}});
    auto list = decode<HostList>(request);
    if (!list) {
        end(); // the hosts are one change, and this part of it is missing
        import_refused_ = true;
        return std::unexpected(std::move(list.error()));
    }
    if (auto put = service_.import_put(std::move(list->hosts), payloads(request)); !put) {
        imports_ = false;
        import_refused_ = true;
        return refuse(std::move(put.error()));
    }
    later_ = [this](const nlmsghdr& header) {
        service_.import_when_ready(when_back([this, header] { finish(header, Acknowledgement{}); }));
    };
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::import_commit(const Received& request) {
    if (!imports_)
        return refuse({Errc::invalid, "IMPORT_COMMIT: no import is open here, IMPORT_BEGIN must come first", {}});
    PZ_TRY(decode<Nothing>(request));
    imports_ = false;
    later_ = [this](const nlmsghdr& header) {
        service_.import_commit(when_back([this, header](Result<Imported> imported) {
            if (imported)
                finish(header, Acknowledgement{.message = {},
                                               .durable = Durable::yes,
                                               .added = imported->added,
                                               .changed = imported->changed,
                                               .unchanged = imported->unchanged});
            else
                finish(header, refuse(std::move(imported.error())));
        }));
    };
    return Acknowledgement{};
}

Decoded<Acknowledgement> Session::explain(const Received& request) {
    const ExplainRequest question = PZ_TRY(decode<ExplainRequest>(request));
    auto explanation = service_.explain(question);
    if (!explanation)
        return blame<ExplainRequest>(std::move(explanation.error()), request);
    return answer(request, *explanation);
}

} // namespace pz::control
