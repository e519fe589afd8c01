// SPDX-License-Identifier: Apache-2.0
// Fuzz target: what the DNS codec reads it writes back, and the mDNS responder answers any message with sound ones,
// then comes to rest.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "proto/dns/message.h"
#include "proto/mdns/responder.h"

namespace {

using namespace std::chrono_literals;
namespace dns = pz::dns;
namespace mdns = pz::mdns;

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                               \
            std::abort();                                                                                              \
        }                                                                                                              \
    } while (false)

/// Equal but for the case of names, which compression takes from the first of them.
bool same(const std::vector<dns::Record>& a, const std::vector<dns::Record>& b) {
    return std::ranges::equal(a, b, [](const dns::Record& x, const dns::Record& y) {
        return x.same_as(y) && x.ttl == y.ttl && x.top_bit == y.top_bit;
    });
}

void check_round_trip(const dns::Message& message) {
    for (const auto compression : {dns::Compression::conventional, dns::Compression::multicast}) {
        const pz::Bytes bytes = dns::serialise(message, compression);
        if (bytes.size() > dns::max_message) // it came with more compression than ours
            continue;
        const auto again = dns::parse(bytes);
        REQUIRE(again);
        REQUIRE(again->id == message.id && again->flags == message.flags && again->questions == message.questions);
        REQUIRE(same(again->answers, message.answers));
        REQUIRE(same(again->authorities, message.authorities));
        REQUIRE(same(again->additionals, message.additionals));
    }
}

void check_names(const dns::Message& message) {
    for (const auto* section : {&message.answers, &message.authorities, &message.additionals}) {
        for (const dns::Record& record : *section) {
            REQUIRE(record.name.wire().size() <= dns::max_name);
            REQUIRE(record.same_as(record));
            REQUIRE(record.canonical_rdata().size() == record.rdata.size());
            REQUIRE(!record.name.to_string().empty() && !record.target().to_string().empty());
        }
    }
}

class Segment {
public:
    Segment() {
        responder_.set(1,
                       {.hostnames = {"desk.local", "desk2.local"},
                        .services = {{.type = "_ipp._tcp",
                                      .subtypes = {"_universal"},
                                      .port = 631,
                                      .instance = "My.desk printer",
                                      .txt = {"rp=ipp/print"}},
                                     {.type = "_ssh._tcp", .port = 22}},
                        .addresses = {desk4_, pz::IpAddress::parse("2001:db8::1").value()}},
                       now_);
        responder_.set(2,
                       {.hostnames = {"printer.local"},
                        .services = {{.type = "_ipp._tcp", .port = 631}},
                        .addresses = {pz::IpAddress::v4({192, 0, 2, 2})}},
                       now_);
        rest();
    }

    void receive(pz::ByteView message) {
        const auto client4 = pz::IpAddress::v4({192, 0, 2, 99});
        const auto client6 = pz::IpAddress::parse("fe80::99").value();
        deliver({client4, mdns::port, mdns::group(client4.family), true, message});
        deliver({client6, mdns::port, mdns::group(client6.family), true, message});
        deliver({client4, 40000, mdns::group(client4.family), true, message});
        deliver({client4, mdns::port, desk4_, true, message});
        rest();
    }

private:
    void deliver(const mdns::Received& received) { check(responder_.on_message(received, now_)); }

    /// Time goes on until nothing is pending.
    void rest() {
        const auto end = now_ + 10s;
        while (const auto next = responder_.next_deadline()) {
            REQUIRE(*next >= now_ && *next <= end);
            now_ = *next;
            check(responder_.tick(now_));
        }
        now_ = end;
    }

    void check(const mdns::Outputs& outputs) {
        REQUIRE(outputs.size() <= 100);
        for (const mdns::Output& output : outputs) {
            if (const auto* conflict = std::get_if<mdns::Conflict>(&output)) {
                REQUIRE(conflict->host == 1 || conflict->host == 2);
                continue;
            }
            const auto& reply = std::get<mdns::Reply>(output);
            REQUIRE(reply.host == 1 || reply.host == 2);
            const auto message = dns::parse(reply.message);
            REQUIRE(message);
            REQUIRE(message->flags == 0x8400);
            REQUIRE(!message->answers.empty());
            // A legacy reply repeats questions, which may be as long as the asker likes.
            REQUIRE(reply.message.size() <= 1440 || reply.port != mdns::port);
            REQUIRE(reply.port != mdns::port || (message->id == 0 && message->questions.empty()));
        }
    }

    pz::IpAddress desk4_ = pz::IpAddress::v4({192, 0, 2, 1});
    pz::Instant now_{1h};
    mdns::Responder responder_{[](pz::Duration lowest, pz::Duration) { return lowest; }};
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const pz::ByteView bytes(data, size);
    if (const auto message = dns::parse(bytes); message) {
        check_round_trip(*message);
        check_names(*message);
    }
    static Segment segment;
    segment.receive(bytes);
    return 0;
}
