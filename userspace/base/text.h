// SPDX-License-Identifier: Apache-2.0
// Text from people and from the network: UTF-8, ASCII letters whatever their case, and how it is shown.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pz {

constexpr bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// Bytes of the character that `text` begins with; 0: it is not UTF-8 (RFC 3629), a control character, or there is
/// none.
std::size_t character_size(std::string_view text);
/// UTF-8 without control characters.
bool is_text(std::string_view text);
/// `text` with \xNN in place of each byte that is not text and of each character in `also`.
std::string escaped(std::string_view text, std::string_view also = {});
/// `text` in quotes, fit for a one-line message: escaped, at most some 64 bytes of it.
std::string in_quotes(std::string_view text);

/// ASCII letters as small ones, as names of DNS are compared (RFC 4343).
std::string lower(std::string_view text);
bool equal_whatever_case(std::string_view one, std::string_view other);

} // namespace pz
