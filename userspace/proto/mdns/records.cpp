// SPDX-License-Identifier: Apache-2.0
// From hostnames, services and addresses to records.
#include "proto/mdns/records.h"

#include <algorithm>

namespace pz::mdns {
namespace {

// RFC 6762 §10: records in which a host's name or address stands, and all others.
constexpr std::uint32_t host_ttl = 120;
constexpr std::uint32_t other_ttl = 4500;

class Records {
public:
    void add(OwnRecord::Kind kind, dns::Record record) {
        const auto same = [&](const OwnRecord& own) { return own.record.same_as(record); };
        if (std::ranges::none_of(records_, same))
            records_.push_back({std::move(record), kind});
    }
    void add_unique(dns::Record record) { add(OwnRecord::Kind::unique, std::move(record)); }

    /// After all the records of this name.
    void add_negative(const dns::Name& name) {
        std::vector<std::uint16_t> types;
        for (const OwnRecord& own : records_)
            if (own.record.name == name)
                types.push_back(own.record.type);
        add(OwnRecord::Kind::negative, dns::Record::nsec(name, host_ttl, types));
    }

    [[nodiscard]] bool has(const dns::Name& name) const {
        return std::ranges::any_of(records_, [&](const OwnRecord& own) { return own.record.name == name; });
    }
    std::vector<OwnRecord> take() { return std::move(records_); }

private:
    std::vector<OwnRecord> records_;
};

/// RFC 6763 §4.1, §7.1 (subtypes), §9 (the directory of types).
void add_service(Records& records, const Service& service, const dns::Name& host) {
    using Kind = OwnRecord::Kind;
    static const dns::Name directory = dns::Name::parse("_services._dns-sd._udp.local").value();
    const auto type = dns::Name::parse(service.type + ".local");
    if (!type)
        return;
    const auto instance =
        type->with_label(service.instance.empty() ? host.labels().front() : std::string_view(service.instance));
    if (!instance || records.has(*instance)) // the second of two services by the same name is a mistake
        return;
    records.add(Kind::shared, dns::Record::ptr(*type, other_ttl, *instance));
    if (const auto subtypes = type->with_label("_sub"); subtypes)
        for (const std::string& label : service.subtypes)
            if (const auto subtype = subtypes->with_label(label); subtype)
                records.add(Kind::shared, dns::Record::ptr(*subtype, other_ttl, *instance));
    records.add_unique(dns::Record::srv(*instance, host_ttl, service.port, host));
    records.add_unique(dns::Record::txt(*instance, other_ttl, service.txt));
    records.add_negative(*instance);
    records.add(Kind::directory, dns::Record::ptr(directory, other_ttl, *type));
}

} // namespace

std::vector<OwnRecord> records_of(const Offer& offer) {
    std::vector<dns::Name> names;
    for (const std::string& hostname : offer.hostnames)
        if (const auto name = dns::Name::parse(hostname); name && is_local_name(hostname))
            names.push_back(*name);
    if (names.empty() || offer.addresses.empty())
        return {};

    Records records;
    for (const dns::Name& name : names) {
        for (const IpAddress& address : offer.addresses)
            records.add_unique(dns::Record::address(name, host_ttl, address));
        records.add_negative(name);
    }
    for (const IpAddress& address : offer.addresses) {
        const dns::Name reverse = dns::Name::reverse(address);
        records.add_unique(dns::Record::ptr(reverse, host_ttl, names.front()));
        records.add_negative(reverse);
    }
    for (const Service& service : offer.services)
        add_service(records, service, names.front());
    return records.take();
}

} // namespace pz::mdns
