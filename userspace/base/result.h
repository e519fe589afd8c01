// SPDX-License-Identifier: Apache-2.0
// Errors travel as values: Result<T> is what a function that can fail returns.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace pz {

enum class Errc {
    invalid,     // a value from a person, a file or a client that cannot be right
    exists,      // the name, MAC or address is taken
    not_found,   // no such host, interface, ...
    busy,        // right, but not in this state
    limit,       // a table or a bound is full
    permission,  // the caller may not
    unsupported, // the kernel, the device or this version cannot
    system,      // a system call failed; the text carries strerror
};

/// What went wrong, in a sentence that names the field, the value and what would be right.
struct Error {
    Errc code = Errc::invalid;
    std::string message;
    /// The field concerned, by its name in the control protocol or on the command line; empty if none.
    std::string field = {};
};

template <class T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Errc code, std::string message, std::string field = {}) {
    return std::unexpected(Error{code, std::move(message), std::move(field)});
}

/// Errc::system with strerror(errno_value) appended to `what`.
std::unexpected<Error> fail_errno(std::string what, int errno_value);

} // namespace pz

/// The value of a Result expression; on error, returns that error from the enclosing function.
#define PZ_TRY(...)                                                                                                    \
    __extension__({                                                                                                    \
        auto&& pz_try_result = (__VA_ARGS__);                                                                          \
        if (!pz_try_result)                                                                                            \
            return std::unexpected(std::move(pz_try_result).error());                                                  \
        *std::move(pz_try_result);                                                                                     \
    })
