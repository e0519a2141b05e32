// Sections of the spec's description that have a file of their own.
#pragma once

#include "config/key_visitor.hpp"
#include "config/spec.hpp"

namespace ckvsim::config {

void describe_synthetic(KeyVisitor& visitor, workload::SyntheticParams& params);
void describe_expansion(KeyVisitor& visitor, workload::ExpansionParams& params);
void describe_traffic(KeyVisitor& visitor, workload::TrafficParams& traffic);
/// Time of day, bursts and flash crowds, where `applies`.
void describe_shape(KeyVisitor& visitor, workload::ArrivalShape& shape, bool applies,
                    std::string const& only_if);
void describe_node(KeyVisitor& visitor, node::NodeParams& node);
void describe_model(KeyVisitor& visitor, model::SimShape& shape);
void describe_training(KeyVisitor& visitor, TrainingSpec& training);
void describe_arm(KeyVisitor& visitor, ArmSpec& arm);

}  // namespace ckvsim::config
