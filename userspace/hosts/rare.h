// SPDX-License-Identifier: Apache-2.0
// A value that few of many objects have.
#pragma once

#include <memory>

namespace pz {

/// Costs a pointer as long as it is T{}; copied like a T.
template <class T>
class Rare {
public:
    Rare() = default;
    Rare(const Rare& other) : value_(other.value_ ? std::make_unique<T>(*other.value_) : nullptr) {}
    Rare(Rare&&) noexcept = default;
    Rare& operator=(const Rare& other) { return *this = Rare(other); }
    Rare& operator=(Rare&&) noexcept = default;
    ~Rare() = default;

    const T& operator*() const {
        static const T none{};
        return value_ ? *value_ : none;
    }
    const T* operator->() const { return &**this; }
    /// To change it: has memory of its own from now on.
    T& edit() {
        if (!value_)
            value_ = std::make_unique<T>();
        return *value_;
    }
    /// Gives the memory back if it is T{} again.
    void settle() {
        if (value_ && *value_ == T{})
            value_.reset();
    }
    /// T{} again.
    void clear() { value_.reset(); }

private:
    std::unique_ptr<T> value_;
};

} // namespace pz
