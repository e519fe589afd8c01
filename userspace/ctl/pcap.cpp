// SPDX-License-Identifier: Apache-2.0
#include "ctl/pcap.h"

#include <memory>

#include <pcap/pcap.h>
#include <spdlog/fmt/fmt.h>

namespace pz::ctl {

Result<> write_pcap(const std::string& path, const std::vector<control::Wake>& wakes) {
    constexpr int longest = 65'535;
    const std::unique_ptr<pcap_t, decltype(&pcap_close)> pcap(
        pcap_open_dead_with_tstamp_precision(DLT_EN10MB, longest, PCAP_TSTAMP_PRECISION_NANO), pcap_close);
    if (!pcap)
        return fail(Errc::system, "libpcap: out of memory");
    const std::unique_ptr<pcap_dumper_t, decltype(&pcap_dump_close)> file(pcap_dump_open(pcap.get(), path.c_str()),
                                                                          pcap_dump_close);
    if (!file)
        return fail(Errc::system, fmt::format("--pcap {:?}: {}", path, pcap_geterr(pcap.get())), "pcap");
    for (const auto& wake : wakes) {
        if (wake.outcome == "not-woken" || wake.frame.bytes.empty())
            continue;
        pcap_pkthdr header{};
        header.ts.tv_sec = static_cast<time_t>(wake.time_ns / 1'000'000'000);
        header.ts.tv_usec = static_cast<suseconds_t>(wake.time_ns % 1'000'000'000); // nanoseconds, as was asked for
        header.caplen = static_cast<bpf_u_int32>(wake.frame.bytes.size());
        header.len = wake.frame_length;
        pcap_dump(reinterpret_cast<u_char*>(file.get()), &header, wake.frame.bytes.data());
    }
    if (pcap_dump_flush(file.get()) != 0)
        return fail(Errc::system, fmt::format("--pcap {:?}: not everything could be written", path), "pcap");
    return {};
}

} // namespace pz::ctl
