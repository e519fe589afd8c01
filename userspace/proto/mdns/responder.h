// SPDX-License-Identifier: Apache-2.0
// Multicast DNS (RFC 6762) in the names of the sleeping hosts of one segment: bytes in, bytes out.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "net/address.h"
#include "net/frame.h"
#include "proto/dns/message.h"
#include "proto/mdns/records.h"
#include "proto/mdns/source_limit.h"

namespace pz::mdns {

inline constexpr std::uint16_t port = 5353;
/// 224.0.0.251 or ff02::fb (RFC 6762 §3).
IpAddress group(IpAddress::Family family);

/// The presence table's number of the host.
using Host = std::uint32_t;

/// Whether a source is on the link (RFC 6762 §11, R64): link-local, or within one of the segment's prefixes.
bool is_on_link(const IpAddress& source, std::span<const Network> prefixes);

/// A UDP datagram to port 5353.
struct Received {
    IpAddress source;
    std::uint16_t source_port = port;
    IpAddress destination; // the group, or an address of a host (R63)
    bool on_link = false;  // is_on_link()
    ByteView message = {};
};

/// To be sent from the host's address of the destination's family, port 5353, with a TTL or hop limit of 255 (R65).
struct Reply {
    Host host = 0;
    IpAddress destination;
    std::uint16_t port = mdns::port;
    Bytes message = {};
    bool operator==(const Reply&) const = default;
};
/// Somebody else claims a name of the host for other data: it has to be woken (R80).
struct Conflict {
    Host host = 0;
    dns::Name name;
    bool operator==(const Conflict&) const = default;
};
using Output = std::variant<Reply, Conflict>;
using Outputs = std::vector<Output>;

/// Why a message was not processed.
enum class Ignored : std::uint8_t {
    malformed,
    not_on_link,  // §11
    bad_opcode,   // §18.3
    bad_rcode,    // §18.11
    wrong_port,   // a response that is not from port 5353 (§6)
    unsolicited,  // a response that was sent to us alone, who ask nothing (§11)
    rate_limited, // its source sends too much
};
inline constexpr std::size_t ignored_kinds = 7;
/// "rate-limited", ...
const char* to_string(Ignored reason);

struct Counters {
    std::uint64_t queries = 0;
    std::uint64_t responses = 0;
    std::uint64_t replies = 0; // messages to send
    std::uint64_t conflicts = 0;
    std::uint64_t dropped = 0; // replies and waits for which there was no room
    std::array<std::uint64_t, ignored_kinds> ignored{};
};

struct Limits {
    double messages_per_second = 100; // of one source
    double burst = 200;
    std::size_t sources = 4096;
    std::size_t waits = 256;            // truncated queries whose remainder is awaited
    std::size_t waiting_items = 16'384; // questions and known answers in them
    std::size_t delayed_unicasts = 65'536;
};

/// A value between both, chosen at random.
using Random = std::function<Duration(Duration lowest, Duration highest)>;

class Responder {
public:
    explicit Responder(Random random, Limits limits = {});

    /// Speaks for the host from now on, which has probed for its names itself, and announces what is new (§8.3, §8.4).
    /// What it offered before and does not any more gets a goodbye.
    Outputs set(Host host, const Offer& offer, Instant now);
    /// Nothing is sent for the host any more, what was pending neither; the goodbyes (§10.1, R81) are the last.
    Outputs remove(Host host, bool goodbye);
    Outputs on_message(const Received& received, Instant now);
    /// What became due.
    Outputs tick(Instant now);
    [[nodiscard]] std::optional<Instant> next_deadline() const;

    [[nodiscard]] const Counters& counters() const { return counters_; }
    [[nodiscard]] std::size_t hosts() const { return speakers_.size(); }

private:
    using Family = std::size_t; // an index: 0 for IPv4, 1 for IPv6

    /// A record and when it was last multicast in each family.
    struct Entry {
        OwnRecord own;
        std::array<Instant, 2> sent = {Instant::min(), Instant::min()};
    };
    struct Pending {
        std::size_t record;
        Family family;
        Instant due;
    };
    struct Speaker {
        std::vector<Entry> records;
        std::vector<IpAddress> addresses;
        std::vector<Pending> pending; // multicasts; each record at most once a family
        unsigned announcements = 0; // that are still to be sent
        Instant announce_at = {};
        Instant conflict_told_until = Instant::min();
        std::optional<Instant> deadline = {}; // as it stands in schedule_
        [[nodiscard]] bool has_family(Family family) const;
    };
    /// A record by its name, with what tells it from others without a look at the host.
    struct Reference {
        Host host;
        std::uint32_t record;
        std::size_t data; // a hash
        std::uint16_t type;
        OwnRecord::Kind kind;
    };
    using References = std::vector<Reference>; // by host
    /// Name, type and data of a record -> the TTL that the asker has it with.
    using KnownAnswers = std::unordered_map<std::string, std::uint32_t>;
    /// Who asks, and how.
    struct Asker {
        IpAddress address;
        std::uint16_t port = mdns::port;
        IpAddress destination;
        std::uint16_t id = 0;
        std::size_t limit = 0; // of a legacy reply
        [[nodiscard]] bool is_legacy() const { return port != mdns::port; }
        [[nodiscard]] bool wants_unicast() const { return is_legacy() || !destination.is_multicast(); }
        [[nodiscard]] Family family() const { return address.is_v4() ? 0 : 1; }
    };
    struct Query {
        Asker asker;
        std::vector<dns::Question> questions = {}; // those for names that we know, each once
        std::size_t asked = 0; // all of them
        KnownAnswers known = {};
        std::vector<dns::Record> probes = {}; // what the asker wants to have as its own
    };
    /// A truncated query (§7.2).
    struct Wait {
        Query query;
        Instant due;
        Instant latest;
    };
    struct Candidate {
        std::size_t record;
        bool unicast; // asked for by the question
        bool defence;
    };
    struct Answers {
        std::vector<Candidate> candidates = {};
        std::vector<dns::Question> questions = {};
        std::size_t sole = 0; // questions that nobody else can answer
    };

    void ignore(Ignored reason) { ++counters_.ignored[static_cast<std::size_t>(reason)]; }
    void on_query(const Received& received, dns::Message message, Instant now);
    void on_response(const Received& received, const dns::Message& message, Instant now);
    void on_claim(const dns::Record& record, const References& references, Family family, Instant now);
    void wait_for_rest(Query query, bool more, Instant now);

    void answer(const Query& query, bool waited, Instant now);
    void match(const Query& query, const dns::Question& question, std::map<Host, Answers>& by_host);
    [[nodiscard]] bool is_known(const Query& query, const dns::Record& record) const;
    [[nodiscard]] bool is_defence(const Query& query, const dns::Name& name, const References& references) const;
    void reply(const Query& query, Host host, const Answers& answers, bool waited, Instant now);
    void send_unicast(const Query& query, Host host, const std::vector<dns::Question>& questions,
                      const std::vector<std::size_t>& records, Instant due, Instant now);

    void queue(Speaker& speaker, std::size_t record, Family family, Instant due, Duration gap, Instant now);
    void flush(Host host, Speaker& speaker, Instant now);
    void multicast(Host host, Speaker& speaker, Family family, const std::vector<std::size_t>& records,
                   bool with_additionals, Instant now);
    [[nodiscard]] std::vector<std::size_t> additionals(const Speaker& speaker,
                                                       const std::vector<std::size_t>& answers) const;
    [[nodiscard]] dns::Record to_send(const OwnRecord& own) const;
    void goodbye(Host host, const Speaker& speaker, const std::vector<OwnRecord>& gone);
    void put(Reply reply);
    void reschedule(Host host, Speaker& speaker);

    [[nodiscard]] const References* find(const dns::Name& name) const;
    void index(Host host, const Speaker& speaker);
    /// Forgets the host's records and all that waits to be sent for it.
    void forget(Host host, Speaker& speaker);

    Random random_;
    Limits limits_;
    std::unordered_map<Host, Speaker> speakers_;
    std::unordered_map<dns::Name, References> index_;
    std::set<std::pair<Instant, Host>> schedule_;
    std::multimap<Instant, Reply> unicasts_;
    std::map<std::pair<IpAddress, std::uint16_t>, Wait> waits_;
    std::size_t waiting_items_ = 0;
    SourceLimit source_limit_;
    Counters counters_;
    Outputs outputs_;
};

} // namespace pz::mdns
