// SPDX-License-Identifier: Apache-2.0
#include "ctl/capture.h"

#include <pcap/pcap.h>

#include <array>
#include <memory>

#include <spdlog/fmt/fmt.h>

namespace pz::ctl {

Result<std::vector<CapturedPacket>> read_capture(const std::string& path, std::optional<std::size_t> number) {
    std::array<char, PCAP_ERRBUF_SIZE> error{};
    const std::unique_ptr<pcap_t, decltype(&pcap_close)> file(pcap_open_offline(path.c_str(), error.data()),
                                                              &pcap_close);
    if (!file)
        return fail(Errc::invalid, fmt::format("--pcap {:?}: {}", path, error.data()), "pcap");
    if (const int type = pcap_datalink(file.get()); type != DLT_EN10MB) {
        const char* name = pcap_datalink_val_to_name(type);
        return fail(Errc::invalid,
                    fmt::format("--pcap {:?}: has packets of link type {}, must have Ethernet (EN10MB): capture on an "
                                "Ethernet interface, not on `any`",
                                path, name != nullptr ? name : std::to_string(type)),
                    "pcap");
    }
    std::vector<CapturedPacket> packets;
    pcap_pkthdr* header = nullptr;
    const u_char* bytes = nullptr;
    int more = 0;
    std::size_t count = 0;
    while ((more = pcap_next_ex(file.get(), &header, &bytes)) == 1) {
        ++count;
        if (number && count != *number)
            continue;
        if (header->caplen < header->len)
            return fail(Errc::invalid,
                        fmt::format("--pcap {:?}: of packet {} only {} of {} bytes were captured, must be all", path,
                                    count, header->caplen, header->len),
                        "pcap");
        packets.push_back({.number = count, .frame = Bytes(bytes, bytes + header->caplen)});
        if (number)
            return packets;
    }
    if (more == PCAP_ERROR)
        return fail(Errc::invalid, fmt::format("--pcap {:?}: {}", path, pcap_geterr(file.get())), "pcap");
    if (number)
        return fail(Errc::invalid, fmt::format("--packet {}: {:?} has {}", *number, path, count), "packet");
    return packets;
}

} // namespace pz::ctl
