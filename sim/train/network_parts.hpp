// What a SimNetwork is made of; private to the sources that implement it.
#pragma once

#include <torch/types.h>

#include <array>
#include <memory>
#include <utility>

#include "train/operations.hpp"
#include "train/parameters.hpp"
#include "train/sim_network.hpp"
#include "train/tensor_values.hpp"

namespace ckvsim::train {

/// Parameters and the forward pass.
struct SimNetwork::Parts {
    Parts(Samples const& samples, VariantSpec const& variant_, std::uint64_t seed_, Team* team_,
          Compute const& compute);

    /// Occurrences of rows as tokens, and how many tokens the whole batch has.
    struct Tokens {
        at::Tensor counts;
        std::uint64_t whole = 0;
    };

    /// Rows of a table that any rank's part of the batch touched, and their gradients.
    struct RowGradients {
        std::vector<std::int64_t> ids;
        at::Tensor values;  ///< [ids, width]
    };

    /// What one pass leaves behind; must live until backward has run.
    struct Pass {
        bool training = false;
        std::vector<at::Tensor> feature_rows;  ///< touched rows, leaves of the graph
        at::Tensor context_rows;
        Ragged selected;
        std::vector<std::uint32_t> positions;
        Collisions collisions;  ///< SDIM
        // HSTU: sequences of all layers but the last and of the last, rows of their tokens among
        // the unique items, rows of the candidates among those.
        std::array<Sequences, 2> sequences;
        std::vector<std::int64_t> token_rows;
        std::vector<std::int64_t> candidate_rows;
        at::Tensor logits;
        at::Tensor search_logits;
        at::Tensor peak;
        at::Tensor balance;
    };

    void add(std::string const& name, std::int64_t out, std::int64_t in, double deviation);
    void add_zeros(std::string const& name, std::int64_t size);
    /// `input_deviation`: of the values that the site's router sees at the start.
    void add_site(std::string const& site, bool collective, double input_deviation);
    void add_stack();
    void add_search();
    void add_table(std::string const& name, std::int64_t rows, std::int64_t width, bool padding);
    at::Tensor const& parameter(std::string const& name) const { return parameters.at(name).value; }
    at::Tensor linear(at::Tensor const& input, std::string const& name) const {
        return operations->linear(input, parameter(name), {});
    }
    /// With the bias of the same prefix.
    at::Tensor affine(at::Tensor const& input, std::string const& prefix) const {
        return operations->linear(input, parameter(prefix + "w"), parameter(prefix + "b"));
    }
    template <class Values>
    at::Tensor here(Values const& values) const {
        return operations->here(view_of(values));
    }

    void run(Batch const& batch, Pass& pass) const;
    at::Tensor gather(Batch const& batch, Pass& pass) const;
    at::Tensor activate(at::Tensor const& x, bool silu) const { return silu ? at::silu(x) : x; }
    at::Tensor side(std::string const& site, std::string const& name, bool collective,
                    at::Tensor const& embeddings, Tokens const& tokens, Pass& pass,
                    at::Tensor* served = nullptr) const;
    at::Tensor attend(std::string const& site, bool collective, at::Tensor const& candidates,
                      at::Tensor const& embeddings, Tokens const& counted, Ragged const& tokens,
                      bool search_first, Pass& pass) const;
    void select(Ragged const& tokens, at::Tensor const& queries, at::Tensor const& keys,
                Pass& pass) const;
    at::Tensor search(Batch const& batch, at::Tensor const& candidates,
                      at::Tensor const& embeddings, Pass& pass) const;
    void search_signatures(Batch const& batch, at::Tensor const& embeddings, Pass& pass) const;
    /// SDIM: [rows, hashes], of embeddings as they are now.
    std::vector<std::uint8_t> buckets(at::Tensor const& embeddings) const {
        return operations->buckets(shape.hashes, embeddings, hash_planes);
    }
    at::Tensor sum_buckets(Batch const& batch, at::Tensor const& embeddings, Pass& pass) const;
    at::Tensor long_branch(Batch const& batch, at::Tensor const& candidates,
                           at::Tensor const& embeddings, Pass& pass) const;
    at::Tensor stack(Batch const& batch, at::Tensor const& embeddings, Pass& pass) const;
    at::Tensor mean(at::Tensor const& embeddings, Ragged const& tokens) const;
    at::Tensor tower(at::Tensor x, Batch const& batch, Pass const& pass) const;
    /// The click term with a teacher, from that without (StepLosses::distil); sets the former.
    at::Tensor taught(Batch const& batch, at::Tensor const& logits, at::Tensor const& click,
                      StepLosses& losses) const;
    /// This rank's part of the objective; `losses` and `finite` are the whole batch's.
    at::Tensor objective(Batch const& batch, Pass& pass, StepLosses& losses, bool& finite) const;
    void sum_gradients();
    RowGradients row_gradients(at::Tensor const& rows, TableRows const& touched) const;
    at::Tensor item_embeddings() const;

    /// Everything that training changes.
    template <class Archive>
    void archive(Archive& ar) {
        ar(steps);
        for (auto& [name, parameter] : parameters) archive_tensor(ar, parameter);
        for (auto& table : feature_tables) archive_tensor(ar, table);
        archive_tensor(ar, context_table);
    }

    /// While it lives, `parts` compute what serving computes: early stops, a teacher's scores and
    /// what weight files state as references are those of fp32, whatever training rounds to.
    class InEvaluation {
      public:
        explicit InEvaluation(Parts& parts) : parts_(parts) { exchange(); }
        ~InEvaluation() { exchange(); }
        InEvaluation(InEvaluation const&) = delete;
        InEvaluation& operator=(InEvaluation const&) = delete;

      private:
        void exchange() {
            if (parts_.evaluation) std::swap(parts_.operations, parts_.evaluation);
        }

        Parts& parts_;
        at::NoGradGuard no_grad_;
    };

    Shape shape;
    Schedule schedule;
    VariantSpec variant;
    std::uint64_t seed = 0;
    std::uint64_t steps = 0;
    Team* team = nullptr;
    std::unique_ptr<Operations> operations;
    /// Those of evaluation where they differ (InEvaluation): fp32, as serving computes.
    std::unique_ptr<Operations> evaluation;
    std::vector<std::vector<std::uint32_t>> const* item_features = nullptr;
    std::map<std::string, Parameter> parameters;
    std::vector<Table> feature_tables;
    Table context_table;
    at::Tensor hash_planes;  ///< [shape.hash_planes(), d_e], drawn from the seed, never changed
};

}  // namespace ckvsim::train
