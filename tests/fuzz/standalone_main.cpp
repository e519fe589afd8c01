// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: every seed as it is, then reproducible mutations of the seeds.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t longest_input = 4096;
constexpr int most_changes = 8;

/// From a heap block of exactly that size, so that a sanitizer sees the first byte read outside.
void run(const Input& input) {
    const auto block = std::make_unique_for_overwrite<std::uint8_t[]>(input.size());
    std::ranges::copy(input, block.get());
    LLVMFuzzerTestOneInput(block.get(), input.size());
}

class Mutator {
public:
    explicit Mutator(const std::vector<Input>& seeds) : seeds_(seeds) {}

    Input next() {
        Input input = pick_seed();
        for (auto changes = 1 + below(most_changes); changes > 0; --changes)
            change(input);
        if (input.size() > longest_input)
            input.resize(longest_input);
        return input;
    }

private:
    // Not std::uniform_int_distribution: its values differ between standard libraries.
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }
    std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }
    const Input& pick_seed() { return seeds_[below(seeds_.size())]; }

    void change(Input& input) {
        if (input.empty()) {
            input.push_back(byte());
            return;
        }
        const auto at = below(input.size());
        const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
        switch (below(8)) {
        case 0:
            input[at] = static_cast<std::uint8_t>(input[at] ^ 1U << below(8));
            break;
        case 1:
            input[at] = byte();
            break;
        case 2: { // the values at which lengths and types tip over
            constexpr std::uint8_t edges[] = {0x00, 0x01, 0x02, 0x04, 0x08, 0x7f, 0x80, 0xfe, 0xff};
            input[at] = edges[below(std::size(edges))];
            break;
        }
        case 3:
            input[at] = static_cast<std::uint8_t>(input[at] + (below(2) == 0 ? 1 : -1));
            break;
        case 4:
            input.resize(at);
            break;
        case 5:
            input.erase(place,
                        place + static_cast<std::ptrdiff_t>(1 + below(std::min<std::size_t>(input.size() - at, 16))));
            break;
        case 6:
            input.insert(place, 1 + below(16), byte());
            break;
        default: { // the rest of another seed
            const Input& other = pick_seed();
            input.resize(at);
            if (other.size() > at)
                input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
        }
        }
    }

    const std::vector<Input>& seeds_;
    std::mt19937_64 random_; // the standard fixes its default seed and its sequence
};

} // namespace

int main(int argc, char** argv) {
    std::size_t mutations = 0;
    const std::string_view count = argc == 3 ? argv[1] : "";
    if (const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), mutations);
        error != std::errc{} || end != count.data() + count.size()) {
        std::fprintf(stderr, "usage: %s NUMBER-OF-MUTATIONS FOLDER-OF-SEEDS\n", argv[0]);
        return 2;
    }
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(argv[2]))
        paths.push_back(entry.path());
    std::ranges::sort(paths); // the folder's own order differs between machines
    std::vector<Input> seeds;
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    if (seeds.empty()) {
        std::fprintf(stderr, "%s holds no seeds\n", argv[2]);
        return 2;
    }

    run({});
    std::ranges::for_each(seeds, run);
    Mutator mutator(seeds);
    for (std::size_t i = 0; i < mutations; ++i)
        run(mutator.next());
    std::printf("%zu seeds and %zu mutations\n", seeds.size(), mutations);
    return 0;
}
