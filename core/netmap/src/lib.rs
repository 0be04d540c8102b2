//! One node's view of its tailnet, how two views differ, and how a difference is applied.
