//! The admin HTTP contract: requests, views, errors and a typed client.
