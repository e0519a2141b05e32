// Made-up cache traces.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "workload/cache_trace.hpp"
#include "workload/zipf_sampler.hpp"

namespace ckvsim::workload {

namespace {

class ZipfCacheTrace : public CacheTrace {
  public:
    explicit ZipfCacheTrace(ZipfTrace const& parameters)
        : parameters_(parameters), sampler_(parameters.objects, parameters.alpha) {}

    std::size_t read(std::span<CacheRequest> out) override {
        std::size_t const count = static_cast<std::size_t>(
            std::min<std::uint64_t>(out.size(), parameters_.requests - done_));
        for (std::size_t i = 0; i < count; ++i) {
            if (used_ == keys_.size() || done_ == 0) make_block();
            out[i] = {keys_[used_++], parameters_.bytes, static_cast<std::uint32_t>(done_ / 1000)};
            ++done_;
        }
        return count;
    }
    [[nodiscard]] std::uint64_t done() const override { return done_; }
    [[nodiscard]] std::uint64_t total() const override { return parameters_.requests; }

  private:
    /// 1,024 requests from one stream of random numbers, as a workload draws whom a request is for.
    void make_block() {
        CounterRng rng(parameters_.seed, Purpose::arrival_user, done_ / keys_.size());
        for (std::uint64_t& key : keys_) key = sampler_.draw([&] { return rng.uniform(); });
        used_ = 0;
    }

    ZipfTrace parameters_;
    ZipfSampler sampler_;
    std::array<std::uint64_t, 1024> keys_{};
    std::size_t used_ = 0;
    std::uint64_t done_ = 0;
};

[[noreturn]] void refuse(std::string const& text, std::string const& why) {
    throw Error(ExitCode::usage, "--synthetic " + text + ": " + why +
                                     "; for example zipf:alpha=1.0,objects=1e7,requests=2e7");
}

double parse_number(std::string const& text, std::string const& value) {
    char* end = nullptr;
    double const number = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0' || !std::isfinite(number))
        refuse(text, "'" + value + "' is not a number");
    return number;
}

std::uint64_t parse_count(std::string const& text, std::string const& name, double number,
                          double most) {
    if (number < 1.0 || number > most || number != std::floor(number))
        refuse(text, name + " must be a whole number from 1 to " +
                         std::to_string(static_cast<std::uint64_t>(most)));
    return static_cast<std::uint64_t>(number);
}

}  // namespace

ZipfTrace parse_zipf_trace(std::string const& text) {
    ZipfTrace made;
    std::size_t const colon = text.find(':');
    if (text.substr(0, colon) != "zipf") refuse(text, "the only kind is zipf");
    std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
    while (!rest.empty()) {
        std::size_t const comma = rest.find(',');
        std::string const item = rest.substr(0, comma);
        rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
        std::size_t const equals = item.find('=');
        if (equals == std::string::npos) refuse(text, "'" + item + "' is not name=value");
        std::string const name = item.substr(0, equals);
        double const number = parse_number(text, item.substr(equals + 1));
        if (name == "alpha") {
            if (number <= 0.0 || number > 10.0) refuse(text, "alpha must be above 0, at most 10");
            made.alpha = number;
        } else if (name == "objects") {
            made.objects = parse_count(text, name, number, 1e12);
        } else if (name == "requests") {
            made.requests = parse_count(text, name, number, 1e12);
        } else if (name == "bytes") {
            made.bytes = static_cast<std::uint32_t>(parse_count(text, name, number, 4294967295.0));
        } else if (name == "seed") {
            made.seed = parse_count(text, name, number, 9007199254740992.0);
        } else {
            refuse(text, "no parameter '" + name + "' (alpha, objects, requests, bytes, seed)");
        }
    }
    return made;
}

std::unique_ptr<CacheTrace> make_zipf_trace(ZipfTrace const& parameters) {
    return std::make_unique<ZipfCacheTrace>(parameters);
}

}  // namespace ckvsim::workload
