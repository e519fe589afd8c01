// SPDX-License-Identifier: Apache-2.0
// What is answered, when, to whom: sections are those of RFC 6762 where no other is named.
#include "proto/mdns/responder.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace pz::mdns {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t header_size = 12;
constexpr std::size_t max_questions = 100;      // in one message that concern our names
constexpr std::size_t hosts_per_message = 500;  // so many that answer cost their asker one more message
constexpr std::size_t max_payload = 1440;       // of an Ethernet frame with an IPv6 header and some options (§17)
constexpr std::size_t min_legacy_payload = 512; // RFC 1035 §2.3.4
constexpr std::uint32_t max_legacy_ttl = 10;    // §6.7
constexpr Duration same_record_gap = 1s;        // §6
constexpr Duration defence_gap = 250ms;         // §6: answers to probes
constexpr Duration shortest_delay = 20ms;       // §6: answers that others may have too
constexpr Duration longest_delay = 120ms;
constexpr Duration shortest_wait = 400ms; // §7.2: after a truncated query
constexpr Duration longest_wait = 500ms;
constexpr Duration longest_series = 2s; // of truncated queries
constexpr unsigned announcements = 2;   // §8.3
constexpr Duration announcement_gap = 1s;
constexpr Duration conflict_quiet = 10s;

/// Equal for records that say the same (but for the class, which is IN).
std::string key(const dns::Record& record) {
    std::string key(record.name.wire());
    for (char& c : key)
        if (c >= 'A' && c <= 'Z')
            c = static_cast<char>(c - 'A' + 'a');
    key += static_cast<char>(record.type >> 8);
    key += static_cast<char>(record.type & 0xff);
    const Bytes data = record.canonical_rdata();
    key.append(data.begin(), data.end());
    return key;
}

std::size_t hash_of_data(const dns::Record& record) {
    const Bytes data = record.canonical_rdata();
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(data.data()), data.size()});
}

/// The size of a UDP payload that the asker takes (RFC 6891 §6.2.3), within what is sensible.
std::size_t legacy_limit(const dns::Message& message) {
    for (const dns::Record& record : message.additionals)
        if (record.type == dns::type::opt)
            return std::clamp<std::size_t>(record.klass, min_legacy_payload, max_payload);
    return min_legacy_payload;
}

bool is_in(std::uint16_t klass) {
    return klass == dns::klass::in;
}

} // namespace

IpAddress group(IpAddress::Family family) {
    if (family == IpAddress::Family::v4)
        return IpAddress::v4({224, 0, 0, 251});
    return IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb});
}

bool is_on_link(const IpAddress& source, std::span<const Network> prefixes) {
    if (source.is_unspecified() || source.is_multicast() || source.is_loopback() || source.is_limited_broadcast())
        return false;
    return source.is_link_local() ||
           std::ranges::any_of(prefixes, [&](const Network& prefix) { return prefix.contains(source); });
}

const char* to_string(Ignored reason) {
    switch (reason) {
    case Ignored::malformed:
        return "malformed";
    case Ignored::not_on_link:
        return "not-on-link";
    case Ignored::bad_opcode:
        return "bad-opcode";
    case Ignored::bad_rcode:
        return "bad-rcode";
    case Ignored::wrong_port:
        return "wrong-port";
    case Ignored::unsolicited:
        return "unsolicited";
    case Ignored::rate_limited:
        return "rate-limited";
    }
    return "unknown";
}

bool Responder::Speaker::has_family(Family family) const {
    return std::ranges::any_of(addresses, [&](const IpAddress& ip) { return ip.is_v4() == (family == 0); });
}

Responder::Responder(Random random, Limits limits)
    : random_(std::move(random)), limits_(limits),
      source_limit_(limits.messages_per_second, limits.burst, limits.sources) {}

Outputs Responder::set(Host host, const Offer& offer, Instant now) {
    std::vector<OwnRecord> records = records_of(offer);
    std::vector<Entry> before;
    if (const auto found = speakers_.find(host); found != speakers_.end()) {
        Speaker& old = found->second;
        const auto same = [](const Entry& entry, const OwnRecord& own) {
            return entry.own.kind == own.kind && entry.own.record == own.record;
        };
        old.conflict_told_until = Instant::min();
        if (old.addresses == offer.addresses && std::ranges::equal(old.records, records, same))
            return {};
        std::vector<OwnRecord> gone;
        for (const Entry& entry : old.records)
            if (std::ranges::none_of(records, [&](const auto& own) { return own.record.same_as(entry.own.record); }))
                gone.push_back(entry.own);
        goodbye(host, old, gone);
        before = std::move(old.records);
        old.records = before; // forget() needs their names
        forget(host, old);
        speakers_.erase(found);
    }
    if (records.empty())
        return std::exchange(outputs_, {});

    Speaker& speaker = speakers_[host];
    speaker.addresses = offer.addresses;
    for (OwnRecord& own : records) {
        const auto same = [&](const Entry& entry) { return entry.own.record.same_as(own.record); };
        const auto known = std::ranges::find_if(before, same);
        Entry entry{std::move(own)};
        if (known != before.end())
            entry.sent = known->sent;
        speaker.records.push_back(std::move(entry));
    }
    speaker.announcements = announcements;
    speaker.announce_at = now;
    index(host, speaker);
    flush(host, speaker, now);
    return std::exchange(outputs_, {});
}

Outputs Responder::remove(Host host, bool with_goodbye) {
    const auto found = speakers_.find(host);
    if (found == speakers_.end())
        return {};
    Speaker& speaker = found->second;
    if (with_goodbye) {
        std::vector<OwnRecord> all;
        all.reserve(speaker.records.size());
        for (const Entry& entry : speaker.records)
            all.push_back(entry.own);
        goodbye(host, speaker, all);
    }
    forget(host, speaker);
    speakers_.erase(found);
    return std::exchange(outputs_, {});
}

Outputs Responder::on_message(const Received& received, Instant now) {
    const ByteView bytes = received.message;
    if (bytes.size() < header_size) {
        ignore(Ignored::malformed);
        return tick(now);
    }
    const auto flags = static_cast<std::uint16_t>(bytes[2] << 8 | bytes[3]);
    const bool response = (flags & dns::flag::response) != 0;
    if (!received.on_link)
        ignore(Ignored::not_on_link);
    else if ((flags & dns::flag::opcode) != 0)
        ignore(Ignored::bad_opcode);
    else if ((flags & dns::flag::rcode) != 0)
        ignore(Ignored::bad_rcode);
    else if (response ? received.source_port != port : received.source_port == 0)
        ignore(Ignored::wrong_port);
    else if (response && !received.destination.is_multicast())
        ignore(Ignored::unsolicited);
    else if (!source_limit_.take(received.source, now))
        ignore(Ignored::rate_limited);
    else if (auto message = dns::parse(bytes); !message)
        ignore(Ignored::malformed);
    else if (response)
        on_response(received, *message, now);
    else
        on_query(received, std::move(*message), now);
    return tick(now);
}

Outputs Responder::tick(Instant now) {
    for (auto wait = waits_.begin(); wait != waits_.end();) {
        if (wait->second.due > now) {
            ++wait;
            continue;
        }
        const Query query = std::move(wait->second.query);
        waiting_items_ -= query.questions.size() + query.known.size();
        wait = waits_.erase(wait);
        answer(query, true, now);
    }
    while (!schedule_.empty() && schedule_.begin()->first <= now) {
        const Host host = schedule_.begin()->second;
        flush(host, speakers_.at(host), now);
    }
    while (!unicasts_.empty() && unicasts_.begin()->first <= now) {
        put(std::move(unicasts_.begin()->second));
        unicasts_.erase(unicasts_.begin());
    }
    return std::exchange(outputs_, {});
}

std::optional<Instant> Responder::next_deadline() const {
    std::optional<Instant> next;
    const auto consider = [&](Instant at) { next = std::min(next.value_or(at), at); };
    if (!schedule_.empty())
        consider(schedule_.begin()->first);
    if (!unicasts_.empty())
        consider(unicasts_.begin()->first);
    for (const auto& [source, wait] : waits_)
        consider(wait.due);
    return next;
}

void Responder::on_query(const Received& received, dns::Message message, Instant now) {
    ++counters_.queries;
    Query query{.asker = {received.source, received.source_port, received.destination, message.id}};
    query.asked = message.questions.size();
    for (dns::Question& question : message.questions) {
        if ((!is_in(question.klass) && question.klass != dns::klass::any) || find(question.name) == nullptr ||
            std::ranges::count(query.questions, question) != 0)
            continue;
        if (query.questions.size() >= max_questions) {
            ++counters_.dropped;
            break;
        }
        query.questions.push_back(std::move(question));
    }
    for (const dns::Record& record : message.answers)
        if (is_in(record.klass) && find(record.name) != nullptr)
            query.known.insert_or_assign(key(record), record.ttl);
    if (query.asker.is_legacy()) {
        query.asker.limit = legacy_limit(message);
        answer(query, false, now);
        return;
    }
    query.probes = std::move(message.authorities);
    wait_for_rest(std::move(query), (message.flags & dns::flag::truncated) != 0, now);
}

/// §7.2, R68: after a truncated query, what its source says that it knows counts for that query too.
void Responder::wait_for_rest(Query query, bool more, Instant now) {
    const std::pair source{query.asker.address, query.asker.port};
    auto wait = waits_.find(source);
    if (more && !query.questions.empty() && wait == waits_.end()) {
        if (waits_.size() < limits_.waits)
            wait = waits_.emplace(source, Wait{{.asker = query.asker}, now, now + longest_series}).first;
        else
            ++counters_.dropped;
    }
    if (wait == waits_.end()) {
        answer(query, false, now);
        return;
    }
    Wait& waiting = wait->second;
    const auto room = [&] { return waiting_items_ < limits_.waiting_items; };
    for (const auto& [record, ttl] : query.known)
        if (room() && waiting.query.known.insert_or_assign(record, ttl).second)
            ++waiting_items_;
    if (more)
        waiting.due = std::min(now + random_(shortest_wait, longest_wait), waiting.latest);
    if (query.questions.empty())
        return;
    if (!more) { // another query of the same source
        answer(query, false, now);
        return;
    }
    // A name is defended at once, even if more is to come (§6.3).
    Query probe = query;
    std::erase_if(probe.questions, [&](const dns::Question& question) {
        const References* references = find(question.name);
        return references == nullptr || !is_defence(query, question.name, *references);
    });
    if (!probe.questions.empty())
        answer(probe, false, now);
    for (dns::Question& question : query.questions) {
        if (std::ranges::count(probe.questions, question) != 0 ||
            std::ranges::count(waiting.query.questions, question) != 0)
            continue;
        if (!room()) {
            ++counters_.dropped;
            break;
        }
        waiting.query.questions.push_back(std::move(question));
        ++waiting_items_;
    }
}

void Responder::answer(const Query& query, bool waited, Instant now) {
    std::map<Host, Answers> by_host;
    for (const dns::Question& question : query.questions)
        match(query, question, by_host);
    for (const auto& [host, answers] : by_host)
        reply(query, host, answers, waited, now);
    const std::size_t messages = by_host.size() / hosts_per_message;
    source_limit_.charge(query.asker.address, static_cast<double>(messages));
}

void Responder::match(const Query& query, const dns::Question& question, std::map<Host, Answers>& by_host) {
    const References* references = find(question.name);
    if (references == nullptr)
        return;
    const bool several = references->front().host != references->back().host;
    const bool defence = is_defence(query, question.name, *references);
    std::unordered_set<std::size_t> said; // data of shared records
    // A record that several hosts share is sent as if the others heard the first one say it (§7.4).  Thousands may have
    // the same type of service: none of them is looked at for that.
    const auto is_said = [&](const Reference& reference) {
        return reference.kind == OwnRecord::Kind::directory && said.contains(reference.data);
    };
    for (auto from = references->begin(); from != references->end();) {
        const Host host = from->host;
        const auto to = std::find_if(from, references->end(), [&](const auto& other) { return other.host != host; });
        const auto own_records = std::span(from, to);
        from = to;
        if (std::ranges::all_of(own_records, is_said))
            continue;
        const Speaker& speaker = speakers_.at(host);
        if (query.asker.destination.is_multicast()
                ? !speaker.has_family(query.asker.family())
                : std::ranges::count(speaker.addresses, query.asker.destination) == 0)
            continue;

        std::vector<Candidate> candidates;
        std::optional<std::size_t> negative;
        bool has_type = false;
        bool sole = !several;
        for (const Reference& reference : own_records) {
            const bool is_negative = reference.kind == OwnRecord::Kind::negative;
            if (is_negative)
                negative = reference.record;
            if (question.type != reference.type && (question.type != dns::type::any || is_negative))
                continue;
            has_type = true;
            const OwnRecord& own = speaker.records[reference.record].own;
            sole = sole && own.is_unique();
            if (several && !said.insert(reference.data).second)
                continue;
            if (!is_known(query, own.record))
                candidates.push_back({reference.record, question.top_bit, defence && own.is_unique()});
        }
        // §6.1, R69: the name is the host's, and it has nothing of this type.
        if (!has_type && negative && !several)
            candidates.push_back({*negative, question.top_bit, false});
        else if (!has_type)
            continue;
        Answers& answers = by_host[host];
        answers.sole += sole ? 1 : 0;
        if (candidates.empty())
            continue;
        answers.candidates.insert(answers.candidates.end(), candidates.begin(), candidates.end());
        answers.questions.push_back(question);
    }
}

/// §7.1, R67: the asker has it, for at least half of its time to live.
bool Responder::is_known(const Query& query, const dns::Record& record) const {
    if (query.known.empty())
        return false;
    const auto known = query.known.find(key(record));
    return known != query.known.end() && known->second >= record.ttl / 2;
}

/// §8.1: somebody probes for our name with data that are not ours.
bool Responder::is_defence(const Query& query, const dns::Name& name, const References& references) const {
    if (references.front().kind != OwnRecord::Kind::unique && references.front().kind != OwnRecord::Kind::negative)
        return false;
    return std::ranges::any_of(query.probes, [&](const dns::Record& probe) {
        return probe.name == name && std::ranges::none_of(references, [&](const Reference& reference) {
                   return speakers_.at(reference.host).records[reference.record].own.record.same_as(probe);
               });
    });
}

void Responder::reply(const Query& query, Host host, const Answers& answers, bool waited, Instant now) {
    if (answers.candidates.empty()) // R73
        return;
    Speaker& speaker = speakers_.at(host);
    const Asker& asker = query.asker;
    // Nobody else answers any of it: at once (§6, R70, R71, R75).  Otherwise others might at the same time (§6, §6.3,
    // R74, R76).
    const bool at_once = waited || answers.sole == query.asked;
    const Instant delayed = at_once ? now : now + random_(shortest_delay, longest_delay);
    std::vector<std::size_t> unicast;
    Instant unicast_due = delayed;
    for (const Candidate& candidate : answers.candidates) {
        const Entry& entry = speaker.records[candidate.record];
        const Instant due = candidate.defence ? now : delayed;
        bool by_unicast = asker.wants_unicast();
        bool by_multicast = !by_unicast;
        if (by_multicast && candidate.unicast) {
            // §5.4, R66: the caches of all others learn it if they did not recently.
            const auto recently = std::chrono::seconds(entry.own.record.ttl) / 4;
            by_multicast = entry.sent[asker.family()] + recently <= now;
            by_unicast = !by_multicast || candidate.defence;
        }
        if (by_unicast) {
            if (std::ranges::count(unicast, candidate.record) == 0)
                unicast.push_back(candidate.record);
            unicast_due = std::min(unicast_due, due);
        }
        if (by_multicast)
            queue(speaker, candidate.record, asker.family(), due, candidate.defence ? defence_gap : same_record_gap,
                  now);
    }
    if (!unicast.empty())
        send_unicast(query, host, answers.questions, unicast, unicast_due, now);
    reschedule(host, speaker);
}

void Responder::send_unicast(const Query& query, Host host, const std::vector<dns::Question>& questions,
                             const std::vector<std::size_t>& records, Instant due, Instant now) {
    const Speaker& speaker = speakers_.at(host);
    const bool legacy = query.asker.is_legacy();
    dns::Message message{.flags = dns::flag::response | dns::flag::authoritative};
    const auto add = [&](std::vector<dns::Record>& section, std::size_t record) {
        section.push_back(to_send(speaker.records[record].own));
        if (legacy) { // §6.7
            section.back().ttl = std::min(section.back().ttl, max_legacy_ttl);
            section.back().top_bit = false;
        }
    };
    for (const std::size_t record : records)
        add(message.answers, record);
    for (const std::size_t record : additionals(speaker, records))
        add(message.additionals, record);
    if (legacy) { // §6.7, R79: as a conventional DNS server would
        message.id = query.asker.id;
        message.questions = questions;
    }
    std::vector<Bytes> parts = legacy ? dns::serialise_split(message, query.asker.limit)
                                      : dns::serialise_split(message, max_payload, dns::Compression::multicast);
    // Such an asker reads one message.  It is not marked as truncated: nothing answers by TCP.
    if (legacy)
        parts.resize(1);
    for (Bytes& part : parts) {
        Reply reply{host, query.asker.address, query.asker.port, std::move(part)};
        if (due <= now)
            put(std::move(reply));
        else if (unicasts_.size() < limits_.delayed_unicasts)
            unicasts_.emplace(due, std::move(reply));
        else
            ++counters_.dropped;
    }
}

void Responder::on_response(const Received& received, const dns::Message& message, Instant now) {
    ++counters_.responses;
    const Family family = received.source.is_v4() ? 0 : 1;
    for (const auto* section : {&message.answers, &message.additionals})
        for (const dns::Record& record : *section)
            if (const References* references = find(record.name); references != nullptr && is_in(record.klass))
                on_claim(record, *references, family, now);
}

/// Somebody says something of a name that is ours, too.
void Responder::on_claim(const dns::Record& record, const References& references, Family family, Instant now) {
    bool ours = false;
    bool rival = false;
    const std::size_t data = hash_of_data(record);
    for (const Reference& reference : references) {
        if (reference.kind == OwnRecord::Kind::negative || reference.type != record.type)
            continue;
        // Thousands of hosts may have a type of service: most of them are told apart by the hash alone.
        if (reference.data != data) {
            rival = rival || reference.kind == OwnRecord::Kind::unique;
            continue;
        }
        Speaker& speaker = speakers_.at(reference.host);
        Entry& entry = speaker.records[reference.record];
        if (!entry.own.record.same_rdata(record)) {
            rival = rival || reference.kind == OwnRecord::Kind::unique;
            continue;
        }
        ours = true;
        if (record.ttl >= entry.own.record.ttl) {
            // §7.4: said by another, or an echo of what we said, which is no later than that.
            if (entry.sent[family] + same_record_gap <= now)
                entry.sent[family] = now;
            const auto removed = std::erase_if(speaker.pending, [&](const Pending& pending) {
                return pending.family == family && pending.record == reference.record;
            });
            if (removed != 0)
                reschedule(reference.host, speaker);
        } else if (record.ttl < entry.own.record.ttl / 2 && speaker.has_family(family)) {
            // §6.6: the caches would forget it too soon.
            queue(speaker, reference.record, family, now + random_(shortest_delay, longest_delay), same_record_gap,
                  now);
            reschedule(reference.host, speaker);
        }
    }
    if (ours) {
        for (auto& [source, wait] : waits_)
            if (wait.query.asker.family() == family && waiting_items_ < limits_.waiting_items &&
                wait.query.known.emplace(key(record), record.ttl).second)
                ++waiting_items_;
        return;
    }
    if (!rival || record.ttl == 0)
        return;
    // §9, R80
    for (const Reference& reference : references) {
        if (reference.kind != OwnRecord::Kind::unique || reference.type != record.type)
            continue;
        Speaker& speaker = speakers_.at(reference.host);
        if (speaker.conflict_told_until > now)
            continue;
        speaker.conflict_told_until = now + conflict_quiet;
        ++counters_.conflicts;
        outputs_.emplace_back(Conflict{reference.host, speaker.records[reference.record].own.record.name});
    }
}

/// §6: not sooner than `gap` after the record was multicast; together with what is pending already (§6.4, R78).
void Responder::queue(Speaker& speaker, std::size_t record, Family family, Instant due, Duration gap, Instant now) {
    const Instant earliest = speaker.records[record].sent[family] + gap;
    if (due > now) {
        for (const Pending& other : speaker.pending) {
            if (other.family == family && other.due >= now + shortest_delay && other.due <= now + longest_delay) {
                due = other.due;
                break;
            }
        }
    }
    due = std::max(due, earliest);
    const auto same = [&](const Pending& pending) { return pending.record == record && pending.family == family; };
    if (const auto found = std::ranges::find_if(speaker.pending, same); found != speaker.pending.end())
        found->due = std::min(found->due, due);
    else
        speaker.pending.push_back({record, family, due});
}

void Responder::flush(Host host, Speaker& speaker, Instant now) {
    if (speaker.announcements > 0 && speaker.announce_at <= now) {
        for (const Family family : {0U, 1U}) {
            if (!speaker.has_family(family))
                continue;
            std::vector<std::size_t> records;
            for (std::size_t i = 0; i < speaker.records.size(); ++i)
                if (const Entry& entry = speaker.records[i];
                    entry.own.is_positive() && entry.sent[family] + same_record_gap <= now)
                    records.push_back(i);
            multicast(host, speaker, family, records, false, now);
        }
        --speaker.announcements;
        speaker.announce_at = now + announcement_gap;
    }
    for (const Family family : {0U, 1U}) {
        std::vector<std::size_t> records;
        for (const Pending& pending : speaker.pending)
            if (pending.family == family && pending.due <= now)
                records.push_back(pending.record);
        multicast(host, speaker, family, records, true, now);
    }
    reschedule(host, speaker);
}

void Responder::multicast(Host host, Speaker& speaker, Family family, const std::vector<std::size_t>& records,
                          bool with_additionals, Instant now) {
    if (records.empty())
        return;
    dns::Message message{.flags = dns::flag::response | dns::flag::authoritative};
    std::vector<std::size_t> more;
    if (with_additionals) {
        more = additionals(speaker, records);
        std::erase_if(more,
                      [&](std::size_t record) { return speaker.records[record].sent[family] + same_record_gap > now; });
    }
    for (const std::size_t record : records) {
        message.answers.push_back(to_send(speaker.records[record].own));
        speaker.records[record].sent[family] = now;
    }
    for (const std::size_t record : more) {
        message.additionals.push_back(to_send(speaker.records[record].own));
        speaker.records[record].sent[family] = now;
    }
    std::erase_if(speaker.pending, [&](const Pending& pending) {
        return pending.family == family &&
               (std::ranges::count(records, pending.record) != 0 || std::ranges::count(more, pending.record) != 0);
    });
    const IpAddress destination = group(family == 0 ? IpAddress::Family::v4 : IpAddress::Family::v6);
    for (Bytes& part : dns::serialise_split(message, max_payload, dns::Compression::multicast))
        put({host, destination, port, std::move(part)});
}

/// RFC 6763 §12, and RFC 6762 §6.2 with R72: what the asker would ask for next.
std::vector<std::size_t> Responder::additionals(const Speaker& speaker, const std::vector<std::size_t>& answers) const {
    std::vector<std::size_t> all = answers; // each is looked at once, those that are added too
    std::vector<bool> present(speaker.records.size());
    for (const std::size_t record : answers)
        present[record] = true;
    const auto add = [&](const dns::Name& name, std::uint16_t type) {
        bool found = false;
        for (std::size_t i = 0; i < speaker.records.size(); ++i) {
            const dns::Record& record = speaker.records[i].own.record;
            if (record.type != type || record.name != name)
                continue;
            found = true;
            if (!present[i])
                all.push_back(i);
            present[i] = true;
        }
        return found;
    };
    const auto add_addresses = [&](const dns::Name& name) {
        const bool v4 = add(name, dns::type::a);
        const bool v6 = add(name, dns::type::aaaa);
        if (v4 != v6)
            add(name, dns::type::nsec); // that there are none of the other family
    };
    for (std::size_t i = 0; i < all.size(); ++i) { // NOLINT(modernize-loop-convert): it grows meanwhile
        const dns::Record& record = speaker.records[all[i]].own.record;
        const dns::Name target = record.target();
        switch (record.type) {
        case dns::type::ptr:
            add(target, dns::type::srv);
            add(target, dns::type::txt);
            break;
        case dns::type::srv:
            add_addresses(target);
            break;
        case dns::type::a:
        case dns::type::aaaa:
            add_addresses(dns::Name(record.name));
            break;
        default:
            break;
        }
    }
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(answers.size()));
    return all;
}

/// With the cache-flush bit if no other host has records of that name (§10.2).
dns::Record Responder::to_send(const OwnRecord& own) const {
    dns::Record record = own.record;
    const References* references = own.is_unique() ? find(record.name) : nullptr;
    record.top_bit = references != nullptr && references->front().host == references->back().host;
    return record;
}

/// §10.1, in each family of the host.
void Responder::goodbye(Host host, const Speaker& speaker, const std::vector<OwnRecord>& gone) {
    dns::Message message{.flags = dns::flag::response | dns::flag::authoritative};
    for (const OwnRecord& own : gone) {
        if (own.kind != OwnRecord::Kind::unique && own.kind != OwnRecord::Kind::shared)
            continue;
        // Without the cache-flush bit: the name's other records are not concerned.
        message.answers.push_back(own.record);
        message.answers.back().ttl = 0;
    }
    if (message.answers.empty())
        return;
    for (const Family family : {0U, 1U})
        if (speaker.has_family(family))
            for (Bytes& part : dns::serialise_split(message, max_payload, dns::Compression::multicast))
                put({host, group(family == 0 ? IpAddress::Family::v4 : IpAddress::Family::v6), port, std::move(part)});
}

void Responder::put(Reply reply) {
    ++counters_.replies;
    outputs_.emplace_back(std::move(reply));
}

void Responder::reschedule(Host host, Speaker& speaker) {
    std::optional<Instant> next;
    if (speaker.announcements > 0)
        next = speaker.announce_at;
    for (const Pending& pending : speaker.pending)
        next = std::min(next.value_or(pending.due), pending.due);
    if (next == speaker.deadline)
        return;
    if (speaker.deadline)
        schedule_.erase({*speaker.deadline, host});
    if (next)
        schedule_.emplace(*next, host);
    speaker.deadline = next;
}

const Responder::References* Responder::find(const dns::Name& name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &found->second;
}

void Responder::index(Host host, const Speaker& speaker) {
    for (std::size_t i = 0; i < speaker.records.size(); ++i) {
        const OwnRecord& own = speaker.records[i].own;
        References& references = index_[own.record.name];
        const auto place = std::ranges::upper_bound(references, host, {}, &Reference::host);
        references.insert(place,
                          {host, static_cast<std::uint32_t>(i), hash_of_data(own.record), own.record.type, own.kind});
    }
}

void Responder::forget(Host host, Speaker& speaker) {
    for (const Entry& entry : speaker.records) {
        const auto found = index_.find(entry.own.record.name);
        if (found == index_.end())
            continue;
        const auto own = std::ranges::equal_range(found->second, host, {}, &Reference::host);
        found->second.erase(own.begin(), own.end());
        if (found->second.empty())
            index_.erase(found);
    }
    std::erase_if(unicasts_, [&](const auto& delayed) { return delayed.second.host == host; });
    speaker.pending.clear();
    speaker.announcements = 0;
    reschedule(host, speaker);
}

} // namespace pz::mdns
