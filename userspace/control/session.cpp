// SPDX-License-Identifier: Apache-2.0
#include "control/session.h"

#include <algorithm>
#include <array>

#include <spdlog/fmt/fmt.h>

namespace pz::control {

namespace {

constexpr std::uint16_t common_flags = NLM_F_REQUEST | NLM_F_ACK;
constexpr std::uint16_t set_flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE;

struct Command {
    std::uint16_t type;
    std::uint16_t flags; // besides common_flags
    bool for_all;        // also for peers that may not write
};
constexpr std::array commands{
    Command{PZ_MSG_CAPABILITIES_GET, 0, true},
    Command{PZ_MSG_STATUS_GET, 0, true},
    Command{PZ_MSG_STATS_GET, NLM_F_DUMP, true},
    Command{PZ_MSG_HOST_GET, NLM_F_DUMP, false},
    Command{PZ_MSG_HOST_SET, set_flags, false},
    Command{PZ_MSG_HOST_BEGIN, set_flags, false},
    Command{PZ_MSG_HOST_PUT, 0, false},
    Command{PZ_MSG_HOST_COMMIT, 0, false},
    Command{PZ_MSG_HOST_DELETE, 0, false},
    Command{PZ_MSG_HOST_SLEEP, 0, false},
    Command{PZ_MSG_HOST_WAKE, 0, false},
    Command{PZ_MSG_HOST_RELEASE, 0, false},
    Command{PZ_MSG_DETACH, 0, false},
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

/// A refusal by the service, at the attribute of `request` that it names.
std::unexpected<Refusal> blame(Error error, const Received& request) {
    const auto offset = find_attribute(request, error.field);
    return refuse(std::move(error), offset);
}

} // namespace

void Session::receive(std::span<const std::uint8_t> packet, bool truncated) {
    nlmsghdr header{};
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
    if (outcome && (header.nlmsg_flags & NLM_F_ACK) != 0 && !dump_)
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

std::optional<Message> Session::next() {
    if (!answers_.empty()) {
        Message message = std::move(answers_.front());
        answers_.pop_front();
        return message;
    }
    if (!dump_)
        return std::nullopt;
    auto message = dump_();
    if (!message)
        dump_ = nullptr;
    return message;
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
    if ((request.header.nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
        return refuse({Errc::invalid,
                       fmt::format("nlmsg_flags: are {:#x}, NLM_F_DUMP (0x300) is missing", request.header.nlmsg_flags),
                       "nlmsg_flags"});
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
        const HostName host = PZ_TRY(decode<HostName>(request));
        auto status = service_.host_get(host.name);
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

Result<Durable> Session::apply(HostConfig config, std::uint16_t flags) {
    if ((flags & NLM_F_CREATE) == 0)
        PZ_TRY(service_.host_get(config.name));
    return service_.host_set(std::move(config), (flags & NLM_F_REPLACE) != 0);
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
    auto durable = apply(std::move(config), request.header.nlmsg_flags);
    if (!durable)
        return blame(std::move(durable.error()), request);
    return Acknowledgement{.message = {}, .durable = *durable};
}

Decoded<Acknowledgement> Session::host_begin(const Received& request) {
    PZ_TRY(check_set_flags(request.header.nlmsg_flags));
    if (record_)
        return refuse({Errc::busy,
                       fmt::format("HOST_BEGIN: a record of host \"{}\" is open on this connection, "
                                   "HOST_COMMIT must come first",
                                   record_->config.name),
                       {}});
    PZ_TRY(decode<HostName>(request));
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
    auto durable = apply(std::move(record.config), record.flags);
    if (!durable)
        return refuse(std::move(durable.error()));
    return Acknowledgement{.message = {}, .durable = *durable};
}

Decoded<Acknowledgement> Session::host_change(const Received& request,
                                              Result<Durable> (Service::*change)(std::string_view)) {
    const HostName host = PZ_TRY(decode<HostName>(request));
    auto durable = (service_.*change)(host.name);
    if (!durable)
        return blame(std::move(durable.error()), request);
    return Acknowledgement{.message = {}, .durable = *durable};
}

} // namespace pz::control
