#include "engine/evaluation.hpp"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <span>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"
#include "engine/parallel_failure.hpp"

namespace ckvsim::engine {

namespace {

using workload::Impression;
using workload::Population;
using workload::Split;
using workload::UserRecord;

bool keep_user(UserId user, std::uint64_t users, std::uint64_t max_users, std::uint64_t seed) {
    if (max_users == 0 || max_users >= users) return true;
    double const share = static_cast<double>(max_users) / static_cast<double>(users);
    // Sub-stream 4: the default one splits the users of a synthetic population, often with the same
    // seed; sharing it would keep only users of one split.
    return CounterRng(seed, Purpose::sample_selection, user, 4).uniform() < share;
}

/// What one user adds to an evaluation set.
struct UserPart {
    std::vector<std::uint8_t> labels;
    std::vector<ItemId> items;
    std::vector<std::uint32_t> candidate_age;
    std::vector<float> true_logits;
    std::uint64_t history_tokens = 0;
};

std::uint32_t candidate_age(std::span<ItemId const> tokens, ItemId candidate) {
    auto const last = std::find(tokens.rbegin(), tokens.rend(), candidate);
    if (last == tokens.rend()) return 0;
    return static_cast<std::uint32_t>(last - tokens.rbegin()) + 1;
}

UserPart collect(UserRecord const& record, std::uint32_t max_tokens) {
    UserPart part;
    for (std::size_t i = 0; i < record.impressions.size(); ++i) {
        auto const& impression = record.impressions[i];
        if (impression.split != Split::test) continue;
        part.labels.push_back(impression.label);
        part.items.push_back(impression.item);
        if (!record.true_logits.empty())
            part.true_logits.push_back(static_cast<float>(record.true_logits[i]));
        auto const tokens = std::min(impression.history_end, max_tokens);
        part.candidate_age.push_back(candidate_age(
            std::span(record.timeline).subspan(impression.history_end - tokens, tokens),
            impression.item));
        part.history_tokens += tokens;
    }
    return part;
}

void append(EvaluationSet& set, UserId user, UserPart const& part) {
    set.users.push_back(user);
    set.labels.insert(set.labels.end(), part.labels.begin(), part.labels.end());
    set.items.insert(set.items.end(), part.items.begin(), part.items.end());
    set.candidate_age.insert(set.candidate_age.end(), part.candidate_age.begin(),
                             part.candidate_age.end());
    set.true_logits.insert(set.true_logits.end(), part.true_logits.begin(), part.true_logits.end());
    set.user_offsets.push_back(set.labels.size());
    set.history_tokens += part.history_tokens;
}

/// Scores one user's test impressions; owns all memory that is reused from user to user.
class UserScorer {
  public:
    UserScorer(Population const& population, decode::Backend const& backend, HistorySource source,
               std::uint64_t seed, kv::WindowParams const& window)
        : population_(population),
          backend_(backend),
          source_(source),
          seed_(seed),
          window_(window),
          capacity_(backend.weights().shape.max_tokens),
          entry_(backend.layout().entry_bytes(capacity_)),
          scratch_(backend.make_scratch()) {}

    void score(UserId user, std::span<float> logits) {
        population_.load(user, record_);
        if (source_ == HistorySource::other_user) load_stranger(user);
        std::size_t written = 0;
        std::uint32_t encoded_to = 0;
        bool first = true;
        auto const& impressions = record_.impressions;
        for (std::size_t begin = 0; begin < impressions.size();) {
            std::size_t end = begin + 1;
            while (end < impressions.size() &&
                   impressions[end].history_end == impressions[begin].history_end)
                ++end;
            gather_request(std::span(impressions).subspan(begin, end - begin));
            if (!candidates_.empty()) {
                bring_entry_to(impressions[begin].history_end, encoded_to, first);
                serve(logits.subspan(written, candidates_.size()));
                written += candidates_.size();
            }
            begin = end;
        }
        validate(written == logits.size(),
                 "evaluation: impressions of a user changed between passes");
    }

  private:
    void load_stranger(UserId user) {
        auto const users = population_.users();
        UserId other = CounterRng(seed_, Purpose::control_user, user).next_u64() % users;
        if (other == user) other = (other + 1) % users;
        population_.load_history(other, stranger_);
    }
    void gather_request(std::span<Impression const> group) {
        candidates_.clear();
        contexts_.clear();
        for (auto const& impression : group) {
            if (impression.split != Split::test) continue;
            candidates_.push_back(impression.item);
            contexts_.push_back(impression.context);
        }
    }
    std::span<ItemId const> timeline(std::uint32_t begin, std::uint32_t end) const {
        return std::span(record_.timeline).subspan(begin, end - begin);
    }
    void encode_to(std::uint32_t history_end) {
        tokens_ = backend_.encode(timeline(0, history_end), capacity_, decode::EncodeMode::memo,
                                  entry_.data(), *scratch_);
    }
    /// Event after event. Up to the window appends are exact, so that one encoding stands for them.
    void live_to(std::uint32_t history_end, std::uint32_t lived_to, bool first) {
        using kv::WindowPolicy;
        if (first) {
            lived_to = std::min(history_end, capacity_);
            encode_to(lived_to);
            slid_ = 0;
        }
        for (; lived_to < history_end; ++lived_to) {
            bool const full = tokens_ == capacity_;
            if (full && window_.policy == WindowPolicy::reencode &&
                ++slid_ >= window_.block_tokens) {
                encode_to(lived_to + 1);
                slid_ = 0;
                continue;
            }
            if (full && window_.policy == WindowPolicy::drop_block) {
                std::uint32_t const kept = tokens_ - window_.block_tokens;
                backend_.layout().keep_newest(entry_.data(), tokens_, kept, capacity_);
                tokens_ = kept;
            }
            tokens_ =
                backend_.append(entry_.data(), tokens_, capacity_, timeline(lived_to, lived_to + 1),
                                decode::EncodeMode::memo, *scratch_);
        }
    }
    void bring_entry_to(std::uint32_t history_end, std::uint32_t& encoded_to, bool& first) {
        using decode::EncodeMode;
        if (source_ == HistorySource::other_user) {
            if (first)
                tokens_ = backend_.encode(stranger_, capacity_, EncodeMode::memo, entry_.data(),
                                          *scratch_);
        } else if (window_.policy != kv::WindowPolicy::encoded) {
            live_to(history_end, encoded_to, first);
        } else if (first) {
            encode_to(history_end);
        } else if (history_end > encoded_to) {
            tokens_ =
                backend_.append(entry_.data(), tokens_, capacity_,
                                timeline(encoded_to, history_end), EncodeMode::memo, *scratch_);
        }
        encoded_to = history_end;
        first = false;
    }
    void serve(std::span<float> logits) {
        features_.resize(candidates_.size() * backend_.feature_width());
        decode::ScoreRequest request;
        request.entry = {entry_.data(), tokens_, capacity_};
        request.candidates = candidates_.data();
        request.contexts = contexts_.data();
        request.count = static_cast<std::uint32_t>(candidates_.size());
        backend_.decode(request, features_.data(), *scratch_);
        backend_.tower(features_.data(), request.count, logits.data(), *scratch_);
    }

    Population const& population_;
    decode::Backend const& backend_;
    HistorySource source_;
    std::uint64_t seed_;
    kv::WindowParams window_;
    std::uint32_t capacity_;
    std::uint32_t tokens_ = 0;
    std::uint32_t slid_ = 0;  ///< events since the entry was encoded, of a full window
    std::vector<std::byte> entry_;
    std::unique_ptr<decode::Scratch> scratch_;
    UserRecord record_;
    std::vector<ItemId> stranger_;
    std::vector<ItemId> candidates_;
    std::vector<std::uint32_t> contexts_;
    std::vector<float> features_;
};

}  // namespace

EvaluationSet make_evaluation_set(Population const& population,
                                  std::vector<ShardUsers> const& owned, std::uint64_t max_users,
                                  std::uint64_t seed, std::uint32_t max_tokens,
                                  EvaluationProgress const& progress) {
    EvaluationSet set;
    set.user_offsets.push_back(0);
    std::uint64_t done = 0;
    std::uint64_t total = 0;
    for (auto const& shard : owned) total += shard.users.size();
    for (auto const& shard : owned) {
        std::vector<UserPart> parts(shard.users.size());
        ParallelFailure failure;
#pragma omp parallel
        {
            UserRecord record;
#pragma omp for schedule(dynamic, 16)
            for (std::size_t i = 0; i < shard.users.size(); ++i) {
                failure.guard([&] {
                    if (!keep_user(shard.users[i], population.users(), max_users, seed)) return;
                    population.load(shard.users[i], record);
                    parts[i] = collect(record, max_tokens);
                });
            }
        }
        failure.rethrow();
        ShardExtent extent{shard.shard, set.users.size(), set.labels.size()};
        for (std::size_t i = 0; i < parts.size(); ++i) {
            if (!parts[i].labels.empty()) append(set, shard.users[i], parts[i]);
        }
        extent.users = set.users.size() - extent.users;
        extent.impressions = set.labels.size() - extent.impressions;
        if (extent.users > 0) set.shards.push_back(extent);
        done += shard.users.size();
        if (progress) progress(done, total);
    }
    return set;
}

std::vector<float> score(Population const& population, EvaluationSet const& set,
                         decode::Backend const& backend, HistorySource source, std::uint64_t seed,
                         EvaluationProgress const& progress, kv::WindowParams const& window) {
    std::vector<float> logits(set.labels.size());
    ParallelFailure failure;
    std::atomic<std::uint64_t> done{0};
#pragma omp parallel
    {
        std::unique_ptr<UserScorer> scorer;
        failure.guard([&] {
            scorer = std::make_unique<UserScorer>(population, backend, source, seed, window);
        });
#pragma omp for schedule(dynamic, 64)
        for (std::size_t i = 0; i < set.users.size(); ++i) {
            failure.guard([&] {
                auto const begin = set.user_offsets[i];
                scorer->score(set.users[i],
                              std::span(logits).subspan(begin, set.user_offsets[i + 1] - begin));
            });
            auto const now = ++done;
            if (progress && omp_get_thread_num() == 0 && now % 256 < 8)
                progress(now, set.users.size());
        }
    }
    failure.rethrow();
    return logits;
}

std::uint64_t hash_scores(EvaluationSet const& set, std::vector<float> const& logits,
                          std::uint64_t key) {
    UnorderedHash hash;
    for (std::size_t i = 0; i < set.users.size(); ++i) {
        auto const begin = set.user_offsets[i];
        auto const own = std::span(logits).subspan(begin, set.user_offsets[i + 1] - begin);
        hash.add(set.users[i], hash_span(own, key));
    }
    return hash.value();
}

}  // namespace ckvsim::engine
