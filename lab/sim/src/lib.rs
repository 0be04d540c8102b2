//! A deterministic world around core/tailnet: model clients, faults, invariants.
