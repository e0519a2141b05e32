#include "fleet/serving_costs.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"

namespace ckvsim::fleet {
namespace {

constexpr double kItems = 1000.0;

/// A short site over the newest 3 and a top-2 over all; 7 candidates.
ServingModel small_twin() {
    ServingModel model;
    model.attention_dim = 8;
    model.embedding_dim = 4;
    model.max_interactions = 30;
    model.sites = {{3, 0, 1}, {0, 2, 1}};
    model.tower = {6, 5};
    return model;
}

/// Two layers over item and action tokens; 3 candidates.
ServingModel small_hstu() {
    ServingModel model = hstu_preset();
    model.attention_dim = 8;
    model.embedding_dim = 4;
    model.max_interactions = 6;
    model.tower = {5};
    return model;
}

ServingCosts twin(Keeping keeping, StoredType type = StoredType::fp16,
                  std::uint32_t candidates = 7) {
    return {small_twin(), {keeping, type, 1, 10, 2}, kItems, candidates};
}

void expect_work(StageWork const& work, double bytes, double flops) {
    EXPECT_DOUBLE_EQ(work.bytes, bytes);
    EXPECT_DOUBLE_EQ(work.flops, flops);
}

// Every figure below is computed by hand. With 5 interactions the short site sees 3 tokens, the
// long one 5 and reads 2 values per candidate.
//   attention: 7 * (4*8*4 + 2*8*(3+3)) + 7 * (4*8*4 + 2*8*(5+2)) = 1568 + 1680 = 3248 flops
//   tower: 7 candidates, 12 -> 6 -> 5 -> 1: 14 * (72 + 30 + 5) = 1498 flops, weights 214 bytes
constexpr double kAttention = 3248.0;

TEST(ServingCosts, FullOfATwin) {
    auto const costs = twin(Keeping::full);
    EXPECT_EQ(costs.max_interactions(), 30U);
    EXPECT_EQ(costs.candidates(), 7U);
    EXPECT_EQ(costs.entry_bytes(0), 64U) << "an empty entry takes a line";
    EXPECT_EQ(costs.entry_bytes(1), 64U);
    EXPECT_EQ(costs.entry_bytes(3), 192U);
    EXPECT_EQ(costs.entry_bytes(4), 256U) << "7 tokens of 32 bytes, in whole lines";
    EXPECT_EQ(costs.entry_bytes(5), 256U);
    expect_work(costs.decode(5), (6 + 10) * 16, kAttention);
    expect_work(costs.decode(0), 0, 2 * 7 * 128);
    expect_work(costs.prefill(5), 256 + 8 * 8, 8 * 128);  // written once, embeddings read
    expect_work(costs.append(5, 2), 2 * 2 * (32 + 8), 2 * 2 * 128);
    expect_work(costs.append(5, 9), 5 * 2 * (32 + 8), 5 * 2 * 128);
    expect_work(costs.append(5, 0), 0, 0);
    expect_work(costs.score(), 7 * 8, 1498);
    EXPECT_DOUBLE_EQ(costs.resident_bytes(), 214 + 2 * 256);  // K, V, query and output: 4*8*4 each
    EXPECT_DOUBLE_EQ(costs.batch_bytes(), 214 + 2 * 256);
    EXPECT_FALSE(costs.exact());
    ASSERT_EQ(costs.tables().size(), 1U);
    auto const& embeddings = costs.tables()[0];
    EXPECT_DOUBLE_EQ(embeddings.rows, 1000.0);
    EXPECT_DOUBLE_EQ(embeddings.row_bytes, 8.0);
    EXPECT_DOUBLE_EQ(embeddings.bytes, 8000.0);
    EXPECT_DOUBLE_EQ(embeddings.reads_per_candidate, 1.0);
    EXPECT_DOUBLE_EQ(embeddings.reads_per_interaction, 0.0);
    EXPECT_DOUBLE_EQ(embeddings.reads_per_encoded, 1.0);
}

TEST(ServingCosts, StoredTypesOfFull) {
    auto const fp32 = twin(Keeping::full, StoredType::fp32);
    EXPECT_EQ(fp32.entry_bytes(5), 512U);
    EXPECT_DOUBLE_EQ(fp32.decode(5).bytes, 512.0);
    EXPECT_TRUE(fp32.exact());
    auto const int8 = twin(Keeping::full, StoredType::int8);
    EXPECT_EQ(int8.entry_bytes(5), 192U) << "8 tokens, two rows of 8 values, scale and zero point";
    EXPECT_DOUBLE_EQ(int8.decode(5).bytes, 192.0);
    EXPECT_DOUBLE_EQ(int8.decode(5).flops, kAttention);
    EXPECT_FALSE(int8.exact());
}

TEST(ServingCosts, FewCandidatesDoNotReadEveryValue) {
    // One candidate reads 5 keys and the top 2 values of the long site.
    EXPECT_DOUBLE_EQ(twin(Keeping::full, StoredType::fp16, 1).decode(5).bytes, (6 + 7) * 16);
    EXPECT_DOUBLE_EQ(twin(Keeping::full, StoredType::fp16, 2).decode(5).bytes, (6 + 9) * 16);
}

TEST(ServingCosts, RecomputeOfATwin) {
    auto const costs = twin(Keeping::recompute);
    EXPECT_EQ(costs.entry_bytes(5), 64U);
    EXPECT_EQ(costs.entry_bytes(16), 64U);
    EXPECT_EQ(costs.entry_bytes(17), 128U) << "ids of 4 bytes";
    expect_work(costs.decode(5), 8 * 8, kAttention + 8 * 128);
    expect_work(costs.prefill(5), 20, 0);
    expect_work(costs.append(5, 2), 0, 0);
    EXPECT_TRUE(costs.exact());
    ASSERT_EQ(costs.tables().size(), 1U);
    EXPECT_DOUBLE_EQ(costs.tables()[0].reads_per_interaction, 1.0);
    EXPECT_DOUBLE_EQ(costs.tables()[0].reads_per_encoded, 0.0);
}

TEST(ServingCosts, ItemTableOfATwin) {
    auto const costs = twin(Keeping::item_table);
    EXPECT_EQ(costs.entry_bytes(17), 128U);
    expect_work(costs.decode(5), (6 + 10) * 16, kAttention);
    expect_work(costs.prefill(5), 20, 0);
    expect_work(costs.append(5, 2), 0, 0);
    ASSERT_EQ(costs.tables().size(), 2U);
    auto const& table = costs.tables()[1];
    EXPECT_EQ(table.what, "item_table");
    EXPECT_DOUBLE_EQ(table.row_bytes, 2 * 16 * 2) << "K and V of two sites";
    EXPECT_DOUBLE_EQ(table.bytes, 64000.0);
    EXPECT_DOUBLE_EQ(table.reads_per_interaction, 1.0);
    EXPECT_DOUBLE_EQ(table.reads_per_candidate, 0.0);
}

TEST(ServingCosts, CollectiveOfATwin) {
    // A side of a token: an index of 2 bytes and one value of 2; a pool row: 7 values.
    auto const costs = twin(Keeping::collective);
    EXPECT_EQ(costs.entry_bytes(5), 64U);
    EXPECT_EQ(costs.entry_bytes(6), 128U) << "9 tokens of 8 bytes";
    expect_work(costs.decode(5), (6 + 10) * (4 + 14), kAttention);
    expect_work(costs.prefill(5), 64 + 8 * 8, 8 * 4 * 11 * 4);
    expect_work(costs.append(5, 2), 2 * 2 * (8 + 8), 2 * 2 * 176);
    EXPECT_DOUBLE_EQ(costs.batch_bytes(), 214 + 2 * (176 + 128));
    EXPECT_DOUBLE_EQ(costs.resident_bytes(), 214 + 2 * (176 + 128) + 2 * (2 * 10 * 14));
    EXPECT_EQ(costs.tables().size(), 1U);
    EXPECT_FALSE(costs.exact());
    EXPECT_FALSE(twin(Keeping::collective, StoredType::fp32).exact());
}

TEST(ServingCosts, CollectiveItemOfATwin) {
    auto const costs = twin(Keeping::collective_item);
    EXPECT_EQ(costs.entry_bytes(17), 128U);
    expect_work(costs.decode(5), (6 + 10) * (4 + 14), kAttention);
    expect_work(costs.prefill(5), 20, 0);
    expect_work(costs.append(5, 2), 0, 0);
    ASSERT_EQ(costs.tables().size(), 2U);
    EXPECT_EQ(costs.tables()[1].what, "collective_item");
    EXPECT_DOUBLE_EQ(costs.tables()[1].row_bytes, 2 * 4 * 2);
    EXPECT_DOUBLE_EQ(costs.tables()[1].bytes, 16000.0);
}

// A layer of the small HSTU: K and V 4*8*4 = 128 flops, gate, query and output 6*8*4 = 192. A
// candidate makes its own K and V and attends to itself: 128 + 192 + 4*8 = 352.
TEST(ServingCosts, FullOfAnHstu) {
    // 3 interactions are 6 tokens in each of two layers.
    ServingCosts const costs(small_hstu(), {}, kItems, 3);
    EXPECT_EQ(costs.entry_bytes(3), 384U);
    expect_work(costs.decode(3), 2 * 12 * 16, 2 * 3 * (352 + 2 * 8 * 12));
    // Tokens end at the last layer's K and V, so one layer has the rest and attention: 21 pairs.
    expect_work(costs.prefill(3), 384 + 3 * 8, 6 * (2 * 128 + 192) + 21 * 4 * 8);
    // Two events of two tokens; each attends over 6 tokens held; K and V are read once.
    expect_work(costs.append(3, 2), 2 * (2 * 2 * 32 + 8) + 6 * 32,
                4 * (2 * 128 + 192) + 4 * 6 * 4 * 8);
    EXPECT_DOUBLE_EQ(costs.batch_bytes(), 2 * (12 * 5 + 5) + 2 * 320)
        << "tower 12 -> 5 -> 1; candidates and tokens share a layer's weights";
    ServingCosts const longer(small_hstu(), {}, kItems, 3);
    EXPECT_GT(longer.append(6, 2).flops, longer.append(3, 2).flops);
}

TEST(ServingCosts, CandidatesOfAnHstuWithPoolsGoThroughTheRouters) {
    ServingCosts const costs(small_hstu(), {.keeping = Keeping::collective, .d_u = 1, .m = 10},
                             kItems, 3);
    double const routers = 4 * 11 * 4;
    expect_work(costs.decode(3), 2 * 12 * (4 + 14), 2 * 3 * (routers + 192 + 32 + 2 * 8 * 12));
    // Pool rows of the first layer are read by the tokens that attend.
    expect_work(costs.prefill(3), 6 * 2 * 8 + 3 * 8 + 6 * 2 * 14,
                6 * (2 * routers + 192) + 21 * 4 * 8);
}

TEST(ServingCosts, RecomputeOfAnHstuRunsItsLayersAgain) {
    ServingCosts const costs(small_hstu(), {.keeping = Keeping::recompute}, kItems, 3);
    ServingCosts const full(small_hstu(), {}, kItems, 3);
    EXPECT_DOUBLE_EQ(costs.decode(3).flops, full.decode(3).flops + full.prefill(3).flops);
    EXPECT_DOUBLE_EQ(costs.decode(3).bytes, 3 * 8);
    EXPECT_TRUE(costs.exact());
}

TEST(ServingCosts, NothingGetsCheaperWithALongerHistory) {
    for (auto const& model : {small_twin(), small_hstu()}) {
        for (auto const keeping : {Keeping::recompute, Keeping::full, Keeping::item_table,
                                   Keeping::collective, Keeping::collective_item}) {
            KeepingParams const params{.keeping = keeping, .m = 10};
            if (refusal(model, params)) continue;
            SCOPED_TRACE(model.name + " " + to_string(keeping));
            ServingCosts const costs(model, params, kItems, 7);
            for (std::uint32_t n = 1; n <= model.max_interactions; ++n) {
                EXPECT_GE(costs.entry_bytes(n), costs.entry_bytes(n - 1));
                EXPECT_EQ(costs.entry_bytes(n) % 64, 0U);
                EXPECT_GE(costs.decode(n).bytes, costs.decode(n - 1).bytes);
                EXPECT_GE(costs.decode(n).flops, costs.decode(n - 1).flops);
                EXPECT_GE(costs.prefill(n).bytes, costs.prefill(n - 1).bytes);
                EXPECT_GE(costs.prefill(n).flops, costs.prefill(n - 1).flops);
                EXPECT_GE(costs.append(n, 2).flops, costs.append(n - 1, 2).flops);
            }
            EXPECT_GT(costs.decode(model.max_interactions).flops, costs.decode(0).flops);
        }
    }
}

TEST(ServingCosts, RefusalsSayWhy) {
    struct Refused {
        ServingModel model;
        KeepingParams keeping;
        char const* word;
    };
    ServingModel event = small_twin();
    event.model_class = ModelClass::event;
    Refused const cases[] = {
        {small_hstu(), {.keeping = Keeping::item_table}, "depend on the sequence"},
        {event, {.keeping = Keeping::collective_item, .m = 10}, "depend on the event"},
        {small_twin(), {.keeping = Keeping::recompute, .type = StoredType::int8}, "recompute"},
        {small_twin(), {.keeping = Keeping::collective, .d_u = 8}, "d_u"},
        {small_twin(), {.keeping = Keeping::collective, .m = 257, .index_bytes = 1}, "257"},
    };
    for (auto const& refused : cases) {
        auto const reason = refusal(refused.model, refused.keeping);
        ASSERT_TRUE(reason) << refused.word;
        EXPECT_NE(reason->find(refused.word), std::string::npos) << *reason;
        EXPECT_THROW(ServingCosts(refused.model, refused.keeping, kItems, 1), InternalError);
    }
    EXPECT_FALSE(refusal(small_twin(), {.keeping = Keeping::item_table}));
    EXPECT_FALSE(refusal(event, {.keeping = Keeping::collective}));
    EXPECT_FALSE(refusal(small_twin(), {.keeping = Keeping::collective, .d_u = 7}));
    EXPECT_FALSE(
        refusal(small_twin(), {.keeping = Keeping::collective, .m = 256, .index_bytes = 1}));
}

TEST(ServingCosts, ThePresetsAreThePapersShapes) {
    auto const twin_model = twin_preset();
    EXPECT_EQ(twin_model.sites, (std::vector<Site>{{49, 0, 1}, {0, 100, 1}}));
    EXPECT_EQ(twin_model.model_class, ModelClass::item);
    auto const hstu = hstu_preset();
    EXPECT_EQ(hstu.model_class, ModelClass::sequence);
    EXPECT_EQ(hstu.tokens_per_interaction, 2U);
    EXPECT_EQ(hstu.sites, (std::vector<Site>{{0, 0, 2}}));
}

}  // namespace
}  // namespace ckvsim::fleet
