//! The policy file: HuJSON text in, per-node facts out.
