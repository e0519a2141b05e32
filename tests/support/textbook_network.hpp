// CollectiveKV's training step as one writes it with a tensor library: every token of every sample
// is a row of its own, its logits over the whole pool are materialised, automatic differentiation
// does the rest. What sim/train is measured against (tests/bench/training.cpp) and, on small
// batches, checked against. Nothing is padded: the samples of a micro-batch are sorted by the
// length of their history, so that samples of one length are one dense tensor.
//
// Made as fast as plain operations allow: tokens to which nothing attends get logits (the losses
// are over every token) but no K and V; the winner's logit is computed again for its row alone,
// which spares a tokens x m gradient; embedding gradients are kept for touched rows; Adam is the
// trainer's own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "train/samples.hpp"
#include "train/sim_network.hpp"

namespace ckvsim::test {

/// SIM and TWIN with CollectiveKV in both branches. Among equal scores torch::topk chooses another
/// token than the trainer: in TWIN without own values (d_u = 0) all items of a pool row have equal
/// keys, and the two train with other tokens. Not thread-safe.
class TextbookNetwork {
  public:
    /// Values are zero until restore(). `samples` must outlive it. Throws InternalError for
    /// another model or variant.
    TextbookNetwork(train::Samples const& samples, train::VariantSpec const& variant);
    ~TextbookNetwork();
    TextbookNetwork(TextbookNetwork const&) = delete;
    TextbookNetwork& operator=(TextbookNetwork const&) = delete;

    /// What SimNetwork::snapshot() of the same samples and variant gave.
    void restore(std::vector<std::vector<float>> const& values);

    struct Step {
        train::StepLosses losses;
        double passes_s = 0;  ///< assembly, forward and backward: grows with the samples
        double update_s = 0;  ///< Adam
        std::size_t micro_batches = 0;
    };
    /// One Adam step on samples `rows` of `split`, gradients added up over micro-batches of at most
    /// `micro_batch` samples. Losses are means over the whole of `rows`, except for the balance
    /// loss: the KL of every micro-batch's own mean, weighted by its tokens.
    Step train_step(train::Split const& split, std::span<std::uint32_t const> rows,
                    std::size_t micro_batch);
    /// The same objective's gradients by tensor name, as SimNetwork::gradients.
    train::StepLosses gradients(train::Split const& split, std::span<std::uint32_t const> rows,
                                std::size_t micro_batch,
                                std::map<std::string, std::vector<float>>& out);

    /// Bytes of tokens x m that a micro-batch of `tokens` whole histories' tokens and
    /// `short_tokens` in short windows holds at once: the softmaxes of the four routers, kept for
    /// the backward pass, and two more of the long branch's size while one is at work. A process
    /// takes more: other tensors, and in the trainer's allocator what lies free between them.
    static double peak_bytes(train::VariantSpec const& variant, double tokens, double short_tokens);

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

/// A tensor of one value, the bias of a logit, is a sum over samples of terms of up to 1 / samples
/// and either sign, which may cancel: it is compared with this at least.
inline constexpr double kSumFloor = 0.01;

/// Largest difference between two sets of gradients, relative to the largest value of the tensor
/// that it is in, and that tensor's name; infinite when names or sizes differ or a value is NaN.
/// Tensors below `floor` times the largest gradient of all are compared with that: of pools of one
/// row the gradients of the keys cancel, what is left is rounding.
struct GradientDifference {
    double relative = 0;
    std::string tensor;
};
GradientDifference difference(std::map<std::string, std::vector<float>> const& expected,
                              std::map<std::string, std::vector<float>> const& got,
                              double floor = 0.0);

}  // namespace ckvsim::test
