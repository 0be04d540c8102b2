//! The policy file: HuJSON text in, per-node facts out.
//!
//! [`Policy::parse`] reads and checks a text. [`Engine`] applies a policy to the users and nodes of a tailnet, follows
//! changes to them, and answers every question that depends on both: who sees whom ([`Engine::sees`],
//! [`Engine::visible`]), packet filters ([`Engine::filter`]), SSH ([`Engine::ssh`]), routes
//! ([`Engine::allowed_routes`], [`Engine::may_approve`]), capabilities ([`Engine::self_caps`]), tags
//! ([`Engine::owns_tag`]). An engine is a value and cheap to clone, so every snapshot of the tailnet has its own.
//!
//! ```
//! use std::sync::Arc;
//! use headsail_policy::{Engine, NodeFacts, Owner, Policy, Settings};
//! use headsail_wire::ids::NodeId;
//!
//! let text = r#"{
//!     "tagOwners": {"tag:ci": [], "tag:db": []},
//!     "acls": [{"action": "accept", "src": ["tag:ci"], "dst": ["tag:db:5432"]}],
//! }"#;
//! let policy = Policy::parse(text, &Settings::default())?;
//! let node = |id, tag: &str| {
//!     let v4 = format!("100.64.0.{id}").parse().ok();
//!     Some(NodeFacts::new(NodeId::new(id)?, Owner::Tags(vec![tag.into()]), v4, None))
//! };
//! let nodes = [node(1, "tag:ci"), node(2, "tag:db")].into_iter().flatten();
//! let engine = Engine::new(Arc::new(policy), [], nodes);
//!
//! let seen: Vec<_> = NodeId::new(1).map(|ci| engine.visible(ci).collect()).unwrap_or_default();
//! assert_eq!(seen, Vec::from_iter(NodeId::new(2)));
//! # Ok::<(), headsail_policy::Refusal>(())
//! ```
//!
//! Nodes that no rule can tell apart share a class ([`Engine::class_of`]). Visibility is one bit per pair of classes,
//! and a change costs work only for the classes and rules that it touches.

#![warn(missing_docs)]

mod answers;
mod engine;
mod text;

pub use answers::comparison::{Comparison, Touch};
pub use answers::explain::{Explanation, RuleRef};
pub use answers::filter::Part;
pub use answers::peer_changes::PeerChanges;
pub use answers::policy_tests::TestFailure;
pub use answers::preview::{NodePreview, PortChange, Preview};
pub use answers::sources::SourceKey;
pub use answers::{eval, routes};
pub use engine::facts::{NodeFacts, Owner, Role, UserFacts};
pub use engine::policy::{Policy, Refusal};
pub use engine::{ClassKey, Engine};
pub use text::check::Settings;
pub use text::diag::{Diagnostic, Severity, Span, render};
pub use text::document::{self, Document};
pub use text::hujson::MAX_TEXT;
pub use text::net::{EXIT_ROUTES, Net, is_exit_route};
pub use text::selector::{Auto, Selector};
pub use text::tags::check_tag;
