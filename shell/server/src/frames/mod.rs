//! Map responses as the bytes of a stream: rendered, compressed and shared by all streams that are sent the same.
//!
//! What is shared belongs to one tailnet: [`crate::app::TailnetService`] owns both caches.

pub mod encode;
pub mod full_map;
