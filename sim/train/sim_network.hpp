// SIM, TWIN, ETA, SDIM and HSTU with full KV, full KV + SiLU (not HSTU), CollectiveKV, and its
// controls: parameters, training step and evaluation. The forward pass in evaluation is the
// contract of model/sim.hpp. libtorch stays behind this interface.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/archive.hpp"
#include "core/tensor_file.hpp"
#include "train/batch.hpp"
#include "train/compute.hpp"
#include "train/samples.hpp"

namespace ckvsim::train {

/// Terms of the objective on one batch, before weighting; the objective is
/// click + search + peak_weight * peak + balance_weight * balance, with a teacher
/// (1 - distil_weight) * click + distil_weight * distil in place of click.
struct StepLosses {
    double click = 0;  ///< mean binary cross-entropy with the labels
    /// With a teacher, 0 without: T^2 times the mean over samples of the binary cross-entropy
    /// -(p log q + (1 - p) log(1 - q)), p = sigmoid(teacher's logit / T), q = sigmoid(logit / T),
    /// T = distil_temperature; no gradient goes to p. This is the soft target of Hinton, Vinyals
    /// and Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2, for two classes
    /// with the logits (z, 0); T^2 keeps the size of its gradient, (q - p) * T. It differs from
    /// T^2 * KL(p || q) by the entropy of p, which training cannot change. With T = 1 the click
    /// term is the cross-entropy with the one target (1 - w) * label + w * p.
    double distil = 0;
    double search = 0;   ///< SIM: the same for the head that trains the search (README.md)
    double peak = 0;     ///< summed over collective K and V
    double balance = 0;  ///< likewise
};

/// Not thread-safe; several networks may live in several threads. Deterministic given (samples,
/// variant, seed), the number of ranks and the number of threads libtorch uses. The ranks of a team
/// hold the same parameters: each brings its part of a batch, objective and gradients are those of
/// the whole batch.
class SimNetwork {
  public:
    /// Initial values are keyed by (seed, tensor name): arms of one seed start from the same
    /// embeddings and tower.
    SimNetwork(Samples const& samples, VariantSpec const& variant, std::uint64_t seed,
               Compute const& compute = {});
    /// `team` must outlive the network.
    SimNetwork(Samples const& samples, VariantSpec const& variant, std::uint64_t seed, Team& team,
               Compute const& compute = {});
    ~SimNetwork();
    SimNetwork(SimNetwork const&) = delete;
    SimNetwork& operator=(SimNetwork const&) = delete;

    /// One Adam step. Losses that are not finite are returned without an update. A variant with a
    /// teacher needs its logits in the batch (InternalError). Collective.
    StepLosses train_step(Batch const& batch);

    /// Logits in evaluation mode, [B]. `top_k`, if given, gets the searched tokens' positions in
    /// each sample's token list, ascending (empty lists for variants without attention and models
    /// without a search).
    std::vector<float> predict(Batch const& batch, Ragged* top_k = nullptr) const;

    /// Objective of the next training step and the gradient of every parameter, by tensor name;
    /// nothing is updated. L2 is not part of it. Collective.
    StepLosses gradients(Batch const& batch, std::map<std::string, std::vector<float>>& out) const;

    /// Values of all parameters, to go back to the best epoch.
    [[nodiscard]] std::vector<std::vector<float>> snapshot() const;
    void restore(std::vector<std::vector<float>> const& values);

    /// The same by tensor name, those of the weight file and of the search's head.
    [[nodiscard]] std::map<std::string, std::vector<float>> values() const;
    /// Takes over those that the network has too; the optimiser stays as it is. Throws
    /// InternalError where sizes differ.
    void set_values(std::map<std::string, std::vector<float>> const& values);
    /// What the routers see of items 0 .. V, [V+1, d_e]; not of HSTU.
    [[nodiscard]] std::vector<float> item_embeddings() const;

    /// Parameters, optimiser and step counter, to go on after a kill. load_state() throws DataError
    /// for the state of other shapes and leaves the network unusable then.
    void save_state(ByteSink& sink) const;
    void load_state(ByteSource& source);
    /// Digest of what a state holds and in which order.
    [[nodiscard]] std::uint64_t state_layout() const;

    /// Adds the weight tensors and the tables per item of model/sim.hpp's reference block:
    /// `ref.<site>.<k|v>.index` and `ref.signature`.
    void store(TensorFile& out) const;

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace ckvsim::train
