// SPDX-License-Identifier: Apache-2.0
// Bytes from a client, one message after another, against the whole of the control protocol but the socket.  Whatever
// comes: answers that a client can read, and hosts that are valid.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

#include "../support/control.h"
#include "control/session.h"

namespace {

using namespace pz;
using namespace pz::control;

void require(bool holds, const char* what) {
    if (holds)
        return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

template <class T>
void check_body(const Received& answer) {
    require(decode<T>(answer).has_value(), "an answer can be read");
}

void check_answer(const Message& message) {
    const auto answer = open_answer(message.bytes());
    require(answer.has_value(), "an answer is well formed");
    switch (answer->header.nlmsg_type) {
    case NLMSG_ERROR: {
        const auto body = decode<Acknowledgement>(*answer);
        require(body.has_value(), "an acknowledgement can be read");
        require((answer->error.error != 0) == !body->message.empty(), "a refusal, and only a refusal, says why");
        require(!body->offset || *body->offset < answer->error.msg.nlmsg_len, "the offset is within the request");
        break;
    }
    case NLMSG_DONE:
        break;
    case PZ_MSG_CAPABILITIES:
        return check_body<Capabilities>(*answer);
    case PZ_MSG_STATUS:
        return check_body<DaemonStatus>(*answer);
    case PZ_MSG_COUNTER:
        return check_body<Counter>(*answer);
    case PZ_MSG_HOST:
        return check_body<HostStatus>(*answer);
    case PZ_MSG_EVENT:
        return check_body<Event>(*answer);
    case PZ_MSG_WAKE:
        return check_body<Wake>(*answer);
    case PZ_MSG_EXPLANATION:
        return check_body<Explanation>(*answer);
    default:
        require(false, "the answer's type is one of ours");
    }
}

/// What was read is what would be written.
void check_round_trip(std::span<const std::uint8_t> packet) {
    nlmsghdr header{};
    const auto request = open_request(packet, header);
    if (!request || header.nlmsg_type != PZ_MSG_HOST_SET)
        return;
    const auto config = decode<HostConfig>(*request);
    if (!config)
        return;
    const auto message = encode({PZ_MSG_HOST_SET, header.nlmsg_flags, header.nlmsg_seq, header.nlmsg_pid}, *config);
    if (!message) // read from a packet longer than a message may be
        return;
    const auto again = decode<HostConfig>(*open_request(message->bytes(), header));
    require(again.has_value() && *again == *config, "a configuration survives the way back");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    test::FakeService service;
    (void)service.host_set(test::some_host(1), false);
    Session writer(service, true);
    Session reader(service, false);
    std::span<const std::uint8_t> rest(data, size);
    while (!rest.empty()) {
        // packets end where their nlmsg_len says, or where the input ends
        std::uint32_t length = 0;
        std::memcpy(&length, rest.data(), std::min(sizeof length, rest.size()));
        const auto packet = rest.first(std::clamp<std::size_t>(length, 1, rest.size()));
        rest = rest.subspan(packet.size());
        check_round_trip(packet);
        const auto before = service.hosts;
        reader.receive(packet, false);
        while (const auto message = reader.next())
            check_answer(*message);
        require(service.hosts == before, "who may not write changes nothing");
        writer.receive(packet, false);
        while (const auto message = writer.next())
            check_answer(*message);
    }
    for (const auto& [name, host] : service.hosts)
        require(validate(host.config).has_value() && host.config.name == name, "only valid hosts are in the table");
    return 0;
}
