//! Pages for people who connect a device or log in.

pub mod devices;
pub mod layout;
pub mod pages;
#[cfg(test)]
mod tests;
