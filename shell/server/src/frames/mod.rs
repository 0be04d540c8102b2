//! Map responses as the bytes of a stream: rendered, compressed and shared by all streams that are sent the same.

pub mod encode;
pub mod full_map;
