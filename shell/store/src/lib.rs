//! Where a tailnet is kept: load and commit over SQLite.
