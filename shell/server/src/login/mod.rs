//! The pages that a person sees on the way in.

pub mod devices;
pub mod layout;
pub mod pages;
#[cfg(test)]
mod tests;
