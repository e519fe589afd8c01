// SPDX-License-Identifier: Apache-2.0
#include "ctl/json.h"

#include <algorithm>
#include <type_traits>

#include <boost/json/src.hpp> // all of the library: it is header-only here
#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "base/text.h"
#include "ctl/command.h"

namespace pz::ctl {

namespace json = boost::json;

namespace {

json::value value_of(const std::string& text) {
    return json::string(text);
}
json::value value_of(const MacAddress& mac) {
    return json::string(mac.to_string());
}
json::value value_of(const IpAddress& ip) {
    return json::string(ip.to_string());
}
json::value value_of(const std::array<std::uint8_t, PZ_SECUREON_LEN>&) {
    return "set";
}
json::value value_of(const WakeRule& rule) {
    return json::string(to_string(rule));
}
json::value value_of(const control::Frame& frame) {
    return json::string(fmt::format("{:02x}", fmt::join(frame.bytes, "")));
}
json::value value_of(const Network& network) {
    return json::string(network.to_string());
}
json::value value_of(const QuietHours& quiet) {
    return json::string(to_string(quiet));
}
json::value value_of(std::chrono::seconds seconds) {
    return seconds.count();
}
template <class T>
    requires std::is_integral_v<T>
json::value value_of(T number) {
    return number;
}
template <class T>
    requires std::is_enum_v<T>
json::value value_of(T value) {
    const auto index = static_cast<std::size_t>(value);
    return index < control::enum_names<T>.size() ? json::value(control::enum_names<T>[index]) : json::value(index);
}
template <class T>
json::value value_of(const std::optional<T>& value);
template <class T>
json::value value_of(const std::vector<T>& values);
template <control::HasSchema T>
json::value value_of(const T& body);
json::value value_of(const pz::Service& service);

template <class T>
json::value value_of(const std::optional<T>& value) {
    return value ? value_of(*value) : json::value(nullptr);
}
template <class T>
json::value value_of(const std::vector<T>& values) {
    json::array array;
    for (const T& value : values)
        array.push_back(value_of(value));
    return array;
}
template <control::HasSchema T>
json::value value_of(const T& body) {
    json::object object;
    control::for_each_field<T>([&](const auto& field, unsigned) {
        std::string name = field.name;
        std::ranges::replace(name, '-', '_');
        object[name] = value_of(std::invoke(field.member, body));
    });
    return object;
}

/// Its TXT is bytes: those that are no text, and backslashes, are \xNN.
json::value value_of(const pz::Service& service) {
    json::object object = value_of<pz::Service>(service).as_object();
    json::array& txt = object["txt"].as_array();
    txt.clear();
    for (const std::string& entry : service.txt)
        txt.push_back(json::string(escaped(entry, "\\")));
    return object;
}

json::object value_of(const ExplainedFrame& asked) {
    json::object object{{"frame", value_of(control::Frame{asked.frame})}};
    if (asked.packet)
        object["packet"] = *asked.packet;
    json::object explanation = value_of(asked.explanation).as_object();
    object.insert(explanation.begin(), explanation.end());
    return object;
}

} // namespace

std::string to_json(const control::Capabilities& capabilities) {
    return json::serialize(value_of(capabilities));
}

std::string to_json(const control::DaemonStatus& status) {
    return json::serialize(value_of(status));
}

std::string to_json(const control::HostStatus& host) {
    return json::serialize(value_of(host));
}

std::string to_json(const std::vector<control::HostStatus>& hosts) {
    return json::serialize(value_of(hosts));
}

std::string to_json(const std::vector<control::Counter>& counters) {
    return json::serialize(json::object{{"counters", value_of(counters)}});
}

std::string to_json(const control::Event& event) {
    return json::serialize(value_of(event));
}

std::string to_json(const std::string& host, const std::vector<control::Wake>& wakes) {
    return json::serialize(json::object{{"host", host}, {"wakes", value_of(wakes)}});
}

std::string to_json(const std::string& host, const std::vector<Replayed>& replayed) {
    const auto verdict = [](bool woken, const std::string& rule, const std::string& why) {
        return json::object{{"woken", woken},
                            {"rule", rule.empty() ? json::value(nullptr) : json::value(rule)},
                            {"why", woken ? json::value(nullptr) : json::value(why)}};
    };
    json::array triggers;
    for (const Replayed& each : replayed)
        triggers.push_back(json::object{{"time_ns", each.wake.time_ns},
                                        {"packet", each.wake.packet},
                                        {"then", verdict(each.woken_then(), each.wake.rule, each.wake.sentence)},
                                        {"now", verdict(each.woken, each.rule, each.why)}});
    return json::serialize(json::object{{"host", host}, {"triggers", std::move(triggers)}});
}

std::string to_json(std::uint64_t time_ns, const std::vector<control::Counter>& counters,
                    const std::vector<double>& rates) {
    json::array array;
    for (std::size_t i = 0; i < counters.size(); ++i) {
        json::value counter = value_of(counters[i]);
        counter.as_object()["rate"] = rates[i];
        array.push_back(std::move(counter));
    }
    return json::serialize(json::object{{"time_ns", time_ns}, {"counters", std::move(array)}});
}

std::string to_json(const ExplainedFrame& asked) {
    return json::serialize(value_of(asked));
}

std::string to_json(const std::vector<ExplainedFrame>& asked) {
    json::array array;
    for (const auto& each : asked)
        array.push_back(value_of(each));
    return json::serialize(array);
}

std::string to_json(const Applied& applied) {
    json::array refused;
    for (const auto& [host, error] : applied.refused)
        refused.push_back(json::object{{"host", host}, {"error", error}});
    return json::serialize(json::object{{"added", applied.added},
                                        {"changed", applied.changed},
                                        {"unchanged", applied.unchanged},
                                        {"refused", std::move(refused)}});
}

std::string flag_to_json(const char* name, bool value) {
    return json::serialize(json::object{{name, value}});
}

std::string text_to_json(const char* name, std::string text) {
    std::string whole = json::serialize(json::object{{name, text}});
    boost::system::error_code invalid;
    json::parse(whole, invalid);
    if (invalid) { // the command line may hold any bytes
        std::ranges::replace_if(text, [](char byte) { return static_cast<unsigned char>(byte) >= 0x80; }, '?');
        whole = json::serialize(json::object{{name, text}});
    }
    return whole;
}

} // namespace pz::ctl
