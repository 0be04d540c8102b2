//! Logins that a person decides, as web pages.

pub mod pages;
