//! Listeners, control protocol, relay, admin API and pages.
