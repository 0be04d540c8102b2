//! The admin API under `/api/v1`: on the unix socket, and with an API key on the HTTP listeners.
//!
//! One function per operation: it reads the request, submits one command, and shows the snapshot that results.

mod apikeys;
mod auth;
pub mod checks;
mod debug;
mod door;
mod error;
mod health;
mod key;
mod log;
mod nodes;
pub mod offline;
mod openapi;
mod policy;
mod preauthkeys;
mod read;
mod routes;
#[cfg(test)]
pub(crate) mod tests;
mod users;
pub mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};
use headsail_api::paths::{self, Method, Route};
use headsail_api::{Problem, UserRef};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::Command;
use headsail_tailnet::model::user::User;
use headsail_tailnet::tailnet::Tailnet;

use crate::app::TailnetService;
use crate::clerk::Failure;
use error::Refusal;

/// Bound on request bodies, in bytes: room for the largest policy as a JSON string.
const MAX_BODY: usize = 2 * headsail_policy::MAX_TEXT;

/// Whom a listener trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Everyone who can open the unix socket.
    Socket,
    /// Clients with a valid API key.
    Bearer,
}

/// The state of the handlers.
struct Admin {
    tailnet: Arc<TailnetService>,
    /// The caller, as the change log records it: [`door::check`] or the unix socket has put it into the request.
    actor: Actor,
}

impl FromRequestParts<Arc<TailnetService>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, tailnet: &Arc<TailnetService>) -> Result<Admin, Refusal> {
        let actor = parts.extensions.get::<Actor>().cloned();
        let actor = actor.ok_or_else(|| Problem::internal("the request does not say who is calling"))?;
        Ok(Admin { tailnet: tailnet.clone(), actor })
    }
}

impl Admin {
    async fn submit(&self, command: Command) -> Result<Arc<Tailnet>, Failure> {
        self.tailnet.clerk.submit(self.actor.clone(), command).await
    }

    fn snapshot(&self) -> Arc<Tailnet> {
        self.tailnet.clerk.snapshot()
    }
}

/// What a handler returns.
type Answer<T> = Result<axum::Json<T>, Refusal>;

/// All operations of the API, and its OpenAPI documents.
pub fn routes(tailnet: Arc<TailnetService>, trust: Trust) -> Router {
    let router = [users_and_keys, nodes_and_routes, policy_and_logins]
        .into_iter()
        .fold(Router::new(), |r, add| add(r));
    let router = router.method_not_allowed_fallback(wrong_method).layer(DefaultBodyLimit::max(MAX_BODY));
    let router = match trust {
        Trust::Socket => router,
        Trust::Bearer => router.layer(from_fn_with_state(tailnet.clone(), door::check)),
    };
    router.merge(openapi::routes()).with_state(tailnet)
}

fn users_and_keys(router: Router<Arc<TailnetService>>) -> Router<Arc<TailnetService>> {
    router
        .op(paths::USER_LIST, users::list)
        .op(paths::USER_CREATE, users::create)
        .op(paths::USER_DELETE, users::delete)
        .op(paths::USER_RENAME, users::rename)
        .op(paths::USER_ROLE, users::set_role)
        .op(paths::PREAUTHKEY_LIST, preauthkeys::list)
        .op(paths::PREAUTHKEY_CREATE, preauthkeys::create)
        .op(paths::PREAUTHKEY_EXPIRE, preauthkeys::expire)
        .op(paths::PREAUTHKEY_DELETE, preauthkeys::delete)
        .op(paths::APIKEY_LIST, apikeys::list)
        .op(paths::APIKEY_CREATE, apikeys::create)
        .op(paths::APIKEY_EXPIRE, apikeys::expire)
        .op(paths::APIKEY_DELETE, apikeys::delete)
}

fn nodes_and_routes(router: Router<Arc<TailnetService>>) -> Router<Arc<TailnetService>> {
    router
        .op(paths::NODE_LIST, nodes::list)
        .op(paths::NODE_GET, nodes::get)
        .op(paths::NODE_DELETE, nodes::delete)
        .op(paths::NODE_EXPIRE, nodes::expire)
        .op(paths::NODE_RENAME, nodes::rename)
        .op(paths::NODE_TAGS, nodes::tags)
        .op(paths::NODE_APPROVE_ROUTES, nodes::approve_routes)
        .op(paths::NODE_REGISTER, auth::register_node)
        .op(paths::NODE_BACKFILL, nodes::backfill)
        .op(paths::NODE_ROUTES, routes::of_node)
        .op(paths::ROUTE_LIST, routes::list)
        .op(paths::ROUTE_ENABLE, routes::enable)
        .op(paths::ROUTE_DISABLE, routes::disable)
        .op(paths::ROUTE_DELETE, routes::disable)
}

fn policy_and_logins(router: Router<Arc<TailnetService>>) -> Router<Arc<TailnetService>> {
    router
        .op(paths::AUTH_REGISTER, auth::register)
        .op(paths::AUTH_APPROVE, auth::approve)
        .op(paths::AUTH_REJECT, auth::reject)
        .op(paths::AUTH_PENDING, auth::pending)
        .op(paths::POLICY_GET, policy::get)
        .op(paths::POLICY_SET, policy::set)
        .op(paths::POLICY_CHECK, policy::check)
        .op(paths::POLICY_PREVIEW, policy::preview)
        .op(paths::POLICY_EXPLAIN, policy::explain)
        .op(paths::LOG_LIST, log::list)
        .op(paths::HEALTH, health::get)
        .op(paths::DEBUG_CREATE_NODE, debug::create_node)
}

/// Adds operations of the API contract to a router.
trait Mount {
    fn op<H: Handler<T, Arc<TailnetService>>, T: 'static>(self, route: Route, handler: H) -> Self;
}

impl Mount for Router<Arc<TailnetService>> {
    fn op<H: Handler<T, Arc<TailnetService>>, T: 'static>(self, route: Route, handler: H) -> Self {
        let method = match route.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Delete => MethodFilter::DELETE,
        };
        self.route(route.path, on(method, handler))
    }
}

async fn wrong_method() -> Refusal {
    Problem::new(405, "method not allowed for this operation").into()
}

/// The user that a reference identifies: by id, or by name, or by e-mail address.
fn user_of<'a>(t: &'a Tailnet, wanted: &UserRef) -> Result<&'a Arc<User>, Refusal> {
    let found = match wanted {
        UserRef::Id(id) => headsail_wire::ids::UserId::new(*id).and_then(|id| t.user(id)),
        UserRef::Name(name) => {
            let by = |text: fn(&User) -> &String| t.users().find(|u| text(u) == name && !name.is_empty());
            by(|u| &u.name).or_else(|| by(|u| &u.email))
        }
    };
    found.ok_or_else(|| Problem::not_found(format!("there is no user `{wanted}`")).into())
}
