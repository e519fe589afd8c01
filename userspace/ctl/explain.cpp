// SPDX-License-Identifier: Apache-2.0
#include "ctl/explain.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "ctl/capture.h"
#include "ctl/json.h"
#include "ctl/table.h"

namespace pz::ctl {

using namespace control;

namespace {

constexpr std::uint16_t default_port = 40000; // of the sender

/// An end of a packet, with the host that it is.
struct Party {
    Endpoint end;
    std::optional<HostStatus> host;
    IpAddress address;
};

/// Builds one frame from words, with what the daemon knows.
class Builder {
public:
    Builder(const Question& question, Client& client) : question_(question), client_(client) {}

    Result<ExplainRequest> build() {
        if (question_.kind == Question::Kind::magic)
            return build_magic();
        from_.end = question_.from;
        to_.end = question_.to;
        PZ_TRY(look_up());
        PZ_TRY(choose_addresses());
        place(to_.host ? to_.host : from_.host);
        switch (question_.kind) {
        case Question::Kind::arp:
            return request(build_arp_request(PZ_TRY(sender()), from_.address, to_.address, tags_));
        case Question::Kind::ns:
            return request(build_neighbor_solicitation(PZ_TRY(sender()), from_.address, to_.address, tags_));
        default:
            break;
        }
        const Ends ends{PZ_TRY(sender()), PZ_TRY(receiver()), from_.address, to_.address};
        const std::uint16_t port = from_.end.port != 0 ? from_.end.port : default_port;
        if (question_.kind == Question::Kind::tcp)
            return request(build_tcp(ends, port, to_.end.port, question_.flags, tags_));
        if (question_.kind == Question::Kind::udp)
            return request(build_udp(ends, port, to_.end.port, tags_));
        return request(build_echo_request(ends, 1, 1, tags_));
    }

private:
    Result<ExplainRequest> build_magic() {
        std::optional<HostStatus> host;
        if (!question_.mac)
            host = PZ_TRY(client_.get<HostStatus>(PZ_MSG_HOST_GET, HostName{question_.name}));
        place(host);
        return request(build_magic_ethernet(PZ_TRY(sender()), host ? host->config.macs.front() : *question_.mac,
                                            host ? host->config.magic.secureon : std::nullopt, tags_));
    }

    /// Names by name; addresses among all hosts, so that a frame has the MACs that it would have on the wire.
    Result<> look_up() {
        for (Party* party : {&from_, &to_})
            if (!party->end.name.empty())
                party->host = PZ_TRY(client_.get<HostStatus>(PZ_MSG_HOST_GET, HostName{party->end.name}));
        if (!from_.end.name.empty() && !to_.end.name.empty())
            return {};
        return client_.dump<HostStatus>(PZ_MSG_HOST_GET, [&](const HostStatus& host) {
            for (Party* party : {&from_, &to_})
                if (const auto all = addresses_of(host); party->end.name.empty() && !party->host &&
                                                         may_be_here(host.config) &&
                                                         std::ranges::find(all, party->end.address) != all.end())
                    party->host = host;
        });
    }

    [[nodiscard]] bool may_be_here(const HostConfig& config) const {
        return (question_.interface.empty() || config.interface.empty() || config.interface == question_.interface) &&
               (!question_.vlan || config.vlan == *question_.vlan);
    }

    static std::vector<IpAddress> addresses_of(const HostStatus& host) {
        std::vector<IpAddress> all;
        std::ranges::transform(host.config.addresses, std::back_inserter(all), &HostAddress::ip);
        all.insert(all.end(), host.learned.begin(), host.learned.end());
        return all;
    }

    static std::optional<IpAddress> address_of(const Party& party, IpAddress::Family family) {
        const auto all =
            party.end.name.empty() || !party.host ? std::vector{party.end.address} : addresses_of(*party.host);
        const auto found = std::ranges::find(all, family, &IpAddress::family);
        return found == all.end() ? std::nullopt : std::optional(*found);
    }

    Result<> choose_addresses() {
        using enum IpAddress::Family;
        for (const auto family : {v4, v6}) {
            if ((question_.kind == Question::Kind::arp && family == v6) ||
                (question_.kind == Question::Kind::ns && family == v4))
                continue;
            const auto from = address_of(from_, family);
            const auto to = address_of(to_, family);
            if (!from || !to)
                continue;
            from_.address = *from;
            to_.address = *to;
            return {};
        }
        const auto shown = [](const Party& party) {
            return party.end.name.empty() ? party.end.address.to_string() : "host " + party.end.name;
        };
        return fail(Errc::invalid, fmt::format("{} and {} have no addresses of one family that such a frame could have",
                                               shown(from_), shown(to_)));
    }

    /// Where the frame comes in: as told, else where the host is.
    void place(const std::optional<HostStatus>& host) {
        interface_ = question_.interface.empty() && host ? host->config.interface : question_.interface;
        const VlanTags vlan = question_.vlan ? *question_.vlan : host ? host->config.vlan : VlanTags{};
        tags_ = {.outer = vlan.outer, .inner = vlan.inner};
    }

    Result<MacAddress> sender() {
        if (question_.from_mac)
            return *question_.from_mac;
        if (question_.egress)
            return gateways_mac();
        return from_.host ? from_.host->config.macs.front() : nobodys_mac;
    }

    /// The MAC that a neighbour would send to.
    Result<MacAddress> receiver() {
        if (to_.address.is_multicast())
            return multicast_mac(to_.address);
        if (to_.address.is_limited_broadcast())
            return MacAddress::broadcast();
        // a host that the gateway answers for with its own MAC, or nobody that we know: the gateway has to route it
        const bool as_proxy = to_.host && to_.host->identity == Identity::proxy && to_.host->state != HostState::awake;
        if (to_.host && (!as_proxy || question_.egress))
            return to_.host->config.macs.front();
        return gateways_mac();
    }

    Result<MacAddress> gateways_mac() {
        const auto status = PZ_TRY(client_.get<DaemonStatus>(PZ_MSG_STATUS_GET));
        for (const auto& each : status.interfaces)
            if (interface_.empty() || each.name == interface_)
                return each.mac;
        return fail(Errc::not_found, fmt::format("--interface {:?}: is not served", interface_), "interface");
    }

    [[nodiscard]] ExplainRequest request(Bytes frame) const {
        return {.interface = interface_, .frame = {std::move(frame)}, .egress = question_.egress};
    }

    const Question& question_;
    Client& client_;
    Party from_;
    Party to_;
    std::string interface_;
    TagStack tags_;
};

Result<ExplainedFrame> ask(ExplainRequest request, Client& client) {
    auto explanation = PZ_TRY(client.get<Explanation>(PZ_MSG_EXPLAIN, request));
    return ExplainedFrame{.frame = std::move(request.frame.bytes), .explanation = std::move(explanation)};
}

std::string without_last_newline(std::string text) {
    text.pop_back();
    return text;
}

Result<std::string> explain_capture(const Question& question, bool json, Client& client) {
    std::vector<ExplainedFrame> all;
    for (auto& packet : PZ_TRY(read_capture(question.file, question.packet))) {
        auto asked = ask(
            {.interface = question.interface, .frame = {std::move(packet.frame)}, .egress = question.egress}, client);
        if (!asked)
            return fail(asked.error().code, fmt::format("packet {}: {}", packet.number, asked.error().message));
        asked->packet = packet.number;
        all.push_back(std::move(*asked));
    }
    if (json)
        return to_json(all);
    std::string text;
    for (const auto& each : all)
        text += (text.empty() ? "" : "\n") + to_text(each);
    return text.empty() ? fmt::format("{:?} has no packets", question.file) : without_last_newline(std::move(text));
}

} // namespace

Result<std::string> explain(const Question& question, bool json, Client& client) {
    if (question.kind == Question::Kind::pcap)
        return explain_capture(question, json, client);
    ExplainRequest request =
        question.kind == Question::Kind::hex
            ? ExplainRequest{.interface = question.interface, .frame = {question.frame}, .egress = question.egress}
            : PZ_TRY(Builder(question, client).build());
    const auto asked = PZ_TRY(ask(std::move(request), client));
    return json ? to_json(asked) : without_last_newline(to_text(asked));
}

} // namespace pz::ctl
