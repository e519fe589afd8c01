// SPDX-License-Identifier: Apache-2.0
// LLMNR: answers, uniqueness verification, conflicts.
#include "proto/llmnr/responder.h"

#include <algorithm>
#include <utility>

#include "proto/offers.h"

namespace pz::llmnr {

namespace {

using namespace std::chrono_literals;

// RFC 4795 §7
constexpr Duration jitter_interval = 100ms;
constexpr Duration timeout = 1s;
constexpr unsigned transmissions = 3;

constexpr std::uint32_t ttl = 30; // seconds (RFC 4795 §2.8)
constexpr Duration between_verifications = 10s;
constexpr std::size_t most_pending = 1024;
// A source may ask 40 times at once, and 20 times a second.
constexpr Duration token_time = 50ms;
constexpr Duration bucket_time = 40 * token_time;

// Bits of the header (RFC 4795 §2.1.1)
constexpr std::uint16_t conflict_bit = 0x0400;
constexpr std::uint16_t tentative_bit = 0x0100;

constexpr std::size_t header_size = 12;

std::uint16_t read16(ByteView bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

bool contains(const std::vector<IpAddress>& addresses, const IpAddress& address) {
    return std::ranges::find(addresses, address) != addresses.end();
}

/// The header and the question.  What follows may be as large as UDP allows and is of no use: it is not read.
std::optional<dns::Message> parse_question(ByteView payload) {
    constexpr std::size_t longest = header_size + dns::max_name + 4;
    const auto part = payload.first(std::min(payload.size(), longest));
    Bytes head(part.begin(), part.end());
    std::fill_n(head.begin() + 6, 6, std::uint8_t{0}); // the counts of records
    auto message = dns::parse(head);
    if (!message || message->questions.size() != 1)
        return std::nullopt;
    return std::move(*message);
}

/// The address to send to `other` from: of its family, and better also as link-local as it is; null if there is none.
const IpAddress* source_for(const std::vector<IpAddress>& addresses, const IpAddress& other, bool link_local) {
    const IpAddress* best = nullptr;
    for (const IpAddress& address : addresses) {
        if (address.family != other.family)
            continue;
        if (address.is_link_local() == link_local)
            return &address;
        best = best == nullptr ? &address : best;
    }
    return best;
}

} // namespace

void Responder::add(std::uint32_t host, const Offer& offer, Instant now) {
    remove(host, now);
    Host& entry = hosts_[host];
    for (const IpAddress& address : offer.addresses) {
        if (contains(entry.addresses, address))
            continue;
        entry.addresses.push_back(address);
        by_reverse_name_[dns::Name::reverse(address)].push_back(host);
    }
    for (const std::string& hostname : offer.hostnames) {
        const auto name = dns::Name().with_label(single_label(hostname));
        if (!name || std::ranges::find(entry.names, *name, &OwnName::name) != entry.names.end())
            continue;
        entry.names.push_back({.name = *name, .verified = offer.verified});
        by_name_[*name].push_back(host);
        begin(host, entry.names.size() - 1, dns::type::any, now);
    }
}

void Responder::remove(std::uint32_t host, Instant now) {
    const auto found = hosts_.find(host);
    if (found == hosts_.end())
        return;
    const auto forget = [&](Index& index, const dns::Name& name) {
        const auto entry = index.find(name);
        std::erase(entry->second, host);
        if (entry->second.empty())
            index.erase(entry);
    };
    for (std::size_t i = 0; i < found->second.names.size(); ++i)
        end(host, i);
    for (const IpAddress& address : found->second.addresses)
        forget(by_reverse_name_, dns::Name::reverse(address));
    const std::vector<OwnName> names = std::move(found->second.names);
    hosts_.erase(found);
    std::erase_if(pending_, [&](const auto& entry) { return entry.second.host == host; });
    std::erase_if(conflicts_, [&](const Conflict& conflict) { return conflict.host == host; });
    for (const OwnName& own : names) {
        forget(by_name_, own.name);
        const auto others = by_name_.find(own.name);
        if (others == by_name_.end() || others->second.size() != 1)
            continue;
        // whoever is left has it alone from now on
        const std::uint32_t other = others->second.front();
        const std::size_t name = index_of(other, own.name);
        if (!hosts_.at(other).names[name].verified)
            begin(other, name, dns::type::any, now);
    }
}

std::optional<Ignored> Responder::receive(const Received& received, Instant now) {
    const auto reason = handle(received, now);
    if (reason)
        ++ignored_[static_cast<std::size_t>(*reason)];
    return reason;
}

std::optional<Ignored> Responder::handle(const Received& received, Instant now) {
    const ByteView payload = received.payload;
    if (payload.size() < header_size)
        return Ignored::malformed;
    if (received.destination_port != port)
        return Ignored::bad_port;
    if (received.source_port == 0 || received.source.is_unspecified() || received.source.is_multicast())
        return Ignored::bad_source;
    const std::uint16_t flags = read16(payload, 2);
    const bool is_response = (flags & dns::flag::response) != 0;
    if (!is_response && received.destination != group4 && received.destination != group6)
        return Ignored::unicast_query;
    if ((flags & dns::flag::opcode) != 0 || (is_response && (flags & dns::flag::rcode) != 0))
        return Ignored::bad_opcode;
    const bool has_records = read16(payload, 6) != 0 || read16(payload, 8) != 0; // answers, authorities
    if (read16(payload, 4) != 1 || (!is_response && has_records))
        return Ignored::bad_counts;
    const auto message = parse_question(payload);
    if (!message)
        return Ignored::malformed;
    const dns::Question& question = message->questions.front();
    if (question.klass != dns::klass::in || question.top_bit)
        return Ignored::bad_class;
    return is_response ? handle_response(received, *message) : handle_query(received, *message, now);
}

std::optional<Ignored> Responder::handle_query(const Received& received, const dns::Message& query, Instant now) {
    const dns::Question& question = query.questions.front();
    const auto named = by_name_.find(question.name);
    const auto reversed = by_reverse_name_.find(question.name);
    const bool is_reverse = reversed != by_reverse_name_.end();
    if (!is_reverse && named == by_name_.end())
        return Ignored::not_ours;
    const std::vector<std::uint32_t>& hosts = is_reverse ? reversed->second : named->second;
    if (std::ranges::any_of(hosts,
                            [&](std::uint32_t host) { return contains(hosts_.at(host).addresses, received.source); }))
        return Ignored::own;
    if (!take_token(received.source, now))
        return Ignored::rate_limited;
    if ((query.flags & conflict_bit) != 0) // never answered (RFC 4795 §2.1.1); addresses are defended by ARP and ND
        return is_reverse ? Ignored::not_ours : handle_conflict_query(question, hosts, now);
    std::optional<Ignored> reason;
    for (const std::uint32_t host : hosts)
        if (const auto why = answer_for(host, is_reverse, received, query, now))
            reason = why;
    return reason;
}

std::optional<Ignored> Responder::answer_for(std::uint32_t host, bool is_reverse, const Received& received,
                                             const dns::Message& query, Instant now) {
    const dns::Question& question = query.questions.front();
    const Host& entry = hosts_.at(host);
    const bool any = question.type == dns::type::any;
    const bool shared = !is_reverse && is_shared(question.name);
    bool tentative = false;
    dns::Message response{.id = query.id, .questions = query.questions};

    // A name that it has, but nothing of that type: an empty answer (RFC 4795 §2.3).
    if (is_reverse) {
        for (const OwnName& own : entry.names)
            if (!own.conflicted && (any || question.type == dns::type::ptr))
                response.answers.push_back(dns::Record::ptr(question.name, ttl, own.name));
        if (std::ranges::all_of(entry.names, &OwnName::conflicted)) // no name at all included
            return entry.names.empty() ? Ignored::not_ours : Ignored::conflicted;
    } else {
        const OwnName& own = entry.names[index_of(host, question.name)];
        if (own.conflicted)
            return Ignored::conflicted;
        tentative = !own.verified && !shared;
        // Link-local addresses come first for who asks from one, and last for everybody else (RFC 4795 §2.6).
        for (const bool link_local : {received.source.is_link_local(), !received.source.is_link_local()})
            for (const IpAddress& address : entry.addresses)
                if (address.is_link_local() == link_local &&
                    (any || question.type == (address.is_v4() ? dns::type::a : dns::type::aaaa)))
                    response.answers.push_back(dns::Record::address(question.name, ttl, address));
    }
    response.flags =
        static_cast<std::uint16_t>(dns::flag::response | (shared ? conflict_bit : 0) | (tentative ? tentative_bit : 0));

    const IpAddress* source = source_for(entry.addresses, received.source, received.source.is_link_local());
    if (source == nullptr)
        return Ignored::no_address;
    if (pending_.size() >= most_pending)
        return Ignored::queue_full;
    // As many records as fit, and without TC (MS-LLMNRP §3.2.5).
    const std::size_t largest = source->is_v4() ? 65'507 : 65'527;
    Datagram datagram{.host = host,
                      .destination_mac = received.source_mac,
                      .source = *source,
                      .destination = received.source,
                      .destination_port = received.source_port,
                      .payload = std::move(dns::serialise_split(response, largest).front())};
    // Who is known to be the only one to answer need not wait (RFC 4795 §2.7, MS-LLMNRP §3.2.2).
    pending_.emplace(shared || tentative ? now + jitter() : now, std::move(datagram));
    return std::nullopt;
}

/// RFC 4795 §4.2: advice to look whether the name is still unique.
std::optional<Ignored> Responder::handle_conflict_query(const dns::Question& question,
                                                        const std::vector<std::uint32_t>& hosts, Instant now) {
    const std::uint32_t host = hosts.front();
    const std::size_t name = index_of(host, question.name);
    const OwnName& own = hosts_.at(host).names[name];
    if (own.conflicted || is_shared(question.name))
        return Ignored::conflicted;
    if (own.verification || now < own.verify_after)
        return Ignored::too_soon;
    begin(host, name, question.type, now);
    return std::nullopt;
}

/// RFC 4795 §4.1: whoever answers our query has the name too; what it answers does not matter.
std::optional<Ignored> Responder::handle_response(const Received& received, const dns::Message& response) {
    const dns::Question& question = response.questions.front();
    const auto named = by_name_.find(question.name);
    if (named == by_name_.end())
        return Ignored::not_ours;
    for (const std::uint32_t host : named->second) {
        const std::size_t name = index_of(host, question.name);
        Host& entry = hosts_.at(host);
        OwnName& own = entry.names[name];
        if (!own.verification || own.verification->sent == 0 || own.verification->id != response.id ||
            own.verification->type != question.type || !contains(entry.addresses, received.destination))
            continue;
        if (contains(entry.addresses, received.source))
            return Ignored::own;
        // the smaller address has precedence over another that has not verified the name either
        if ((response.flags & tentative_bit) != 0 && received.source > received.destination)
            return Ignored::yields;
        own.conflicted = true;
        own.verified = false;
        end(host, name);
        conflicts_.push_back({host, std::string(own.name.labels().front()), received.source});
        return std::nullopt;
    }
    return Ignored::unexpected_response;
}

bool Responder::is_shared(const dns::Name& name) const {
    const auto found = by_name_.find(name);
    return found != by_name_.end() && found->second.size() > 1;
}

/// Of a name that the host has.
std::size_t Responder::index_of(std::uint32_t host, const dns::Name& name) const {
    const auto& names = hosts_.at(host).names;
    return static_cast<std::size_t>(std::ranges::find(names, name, &OwnName::name) - names.begin());
}

bool Responder::is_verified(std::uint32_t host) const {
    const auto found = hosts_.find(host);
    return found != hosts_.end() && std::ranges::all_of(found->second.names, &OwnName::verified);
}

void Responder::begin(std::uint32_t host, std::size_t name, std::uint16_t type, Instant now) {
    end(host, name);
    OwnName& own = hosts_.at(host).names[name];
    if (own.conflicted)
        return;
    const auto id = static_cast<std::uint16_t>(random_(Duration{0}, Duration{0xffff}).count());
    own.verification = Verification{.id = id, .type = type, .sent = 0, .due = now + jitter()};
    timers_.insert({own.verification->due, host, name});
}

void Responder::end(std::uint32_t host, std::size_t name) {
    OwnName& own = hosts_.at(host).names[name];
    if (own.verification)
        timers_.erase({own.verification->due, host, name});
    own.verification.reset();
}

/// The next query, or the end of the wait for a response to the last.
void Responder::step(std::uint32_t host, std::size_t name, Instant now, Output& out) {
    const Host& entry = hosts_.at(host);
    OwnName& own = hosts_.at(host).names[name];
    if (!own.verification)
        return;
    Verification verification = *own.verification;
    end(host, name);
    if (is_shared(own.name)) // what is not unique is not verified
        return;
    if (verification.sent == transmissions) {
        own.verified = true;
        own.verify_after = now + between_verifications;
        return;
    }
    const dns::Message query{.id = verification.id, .questions = {{.name = own.name, .type = verification.type}}};
    for (const IpAddress& group : {group4, group6}) // over all protocols that it answers by
        if (const IpAddress* source = source_for(entry.addresses, group, group.is_v6()); source != nullptr)
            out.datagrams.push_back({.host = host,
                                     .destination_mac = multicast_mac(group),
                                     .source = *source,
                                     .destination = group,
                                     .payload = dns::serialise(query)});
    ++verification.sent;
    verification.due = now + timeout + (verification.sent < transmissions ? jitter() : Duration{});
    own.verification = verification;
    timers_.insert({verification.due, host, name});
}

Output Responder::tick(Instant now) {
    Output out{.conflicts = std::exchange(conflicts_, {})};
    while (!pending_.empty() && pending_.begin()->first <= now)
        out.datagrams.push_back(std::move(pending_.extract(pending_.begin()).mapped()));
    while (!timers_.empty() && timers_.begin()->due <= now) {
        const Timer timer = *timers_.begin();
        step(timer.host, timer.name, now, out);
    }
    return out;
}

std::optional<Instant> Responder::next_deadline() const {
    if (!conflicts_.empty())
        return Instant::min();
    std::optional<Instant> next;
    if (!pending_.empty())
        next = pending_.begin()->first;
    if (!timers_.empty())
        next = next ? std::min(*next, timers_.begin()->due) : timers_.begin()->due;
    return next;
}

/// A token bucket; sources with the same hash share one, so that memory is bounded whoever asks.
bool Responder::take_token(const IpAddress& source, Instant now) {
    Instant& full = buckets_[std::hash<IpAddress>{}(source) % buckets_.size()];
    const Instant after = std::max(full, now) + token_time;
    if (after - now > bucket_time)
        return false;
    full = after;
    return true;
}

Duration Responder::jitter() {
    return random_(Duration{}, jitter_interval);
}

} // namespace pz::llmnr
