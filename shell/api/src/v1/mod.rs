//! API v1, one module per noun.

pub mod apikey;
pub mod auth;
pub mod debug;
pub mod health;
pub mod log;
pub mod node;
pub mod policy;
pub mod preauthkey;
pub mod route;
pub mod user;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The response of operations that return no data: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

#[cfg(test)]
mod tests;
