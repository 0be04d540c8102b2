//! Everything a tailnet is, everything that may happen to it, and what each node should know.
