// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <algorithm>
#include <cstdint>

#include <spdlog/fmt/fmt.h>

namespace pz {

namespace {

constexpr char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

} // namespace

std::size_t character_size(std::string_view text) {
    if (text.empty())
        return 0;
    const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
    const std::uint8_t first = byte(0);
    if (first < 0x80)
        return first < ' ' || first == 0x7f ? 0 : 1;
    const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < size)
        return 0;
    std::uint32_t code = first & (0x7fU >> size);
    for (std::size_t at = 1; at < size; ++at) {
        if ((byte(at) & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (byte(at) & 0x3fU);
    }
    const bool is_overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
    const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool is_control = code < 0xa0; // C1
    return is_overlong || is_surrogate || is_control || code > 0x10ffff ? 0 : size;
}

bool is_text(std::string_view text) {
    while (!text.empty()) {
        const std::size_t size = character_size(text);
        if (size == 0)
            return false;
        text.remove_prefix(size);
    }
    return true;
}

std::string escaped(std::string_view text, std::string_view also) {
    std::string out;
    while (!text.empty()) {
        const std::size_t size = character_size(text);
        if (size == 0 || also.contains(text[0])) {
            out += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[0]));
            text.remove_prefix(1);
        } else {
            out += text.substr(0, size);
            text.remove_prefix(size);
        }
    }
    return out;
}

std::string in_quotes(std::string_view text) {
    constexpr std::size_t shown = 64;
    std::size_t cut = std::min(shown, text.size());
    while (cut < text.size() && cut > 0 && (static_cast<std::uint8_t>(text[cut]) & 0xc0) == 0x80 && shown - cut < 3)
        --cut; // not within a character
    return "'" + escaped(text.substr(0, cut)) + (cut < text.size() ? "...'" : "'");
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), to_lower);
    return out;
}

bool equal_whatever_case(std::string_view one, std::string_view other) {
    return std::ranges::equal(one, other, {}, to_lower, to_lower);
}

} // namespace pz
