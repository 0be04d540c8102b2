//! Method and path of every operation, used by the server to mount and by the client to ask.

/// The methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or acts.
    Post,
    /// Replaces.
    Put,
    /// Deletes.
    Delete,
}

impl Method {
    /// The method as it stands in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// One operation: a method and a path with `{placeholders}`, one per path segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, such as `/api/v1/node/{id}`.
    pub path: &'static str,
}

impl Route {
    const fn get(path: &'static str) -> Route {
        Route { method: Method::Get, path }
    }
    const fn post(path: &'static str) -> Route {
        Route { method: Method::Post, path }
    }
    const fn put(path: &'static str) -> Route {
        Route { method: Method::Put, path }
    }
    const fn delete(path: &'static str) -> Route {
        Route { method: Method::Delete, path }
    }

    /// The path with its placeholders replaced in order; values are percent-encoded. A placeholder without a value
    /// stays empty.
    pub fn fill(&self, values: &[&str]) -> String {
        let mut values = values.iter();
        let segments: Vec<String> = self
            .path
            .split('/')
            .map(|s| if s.starts_with('{') { encode(values.next().unwrap_or(&"")) } else { s.to_owned() })
            .collect();
        segments.join("/")
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters: safe in a path segment and in a query value.
pub fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            _ => write!(out, "%{b:02X}").unwrap_or_default(),
        }
        out
    })
}

/// Lists users ([`crate::v1::user::ListUsersQuery`]).
pub const USER_LIST: Route = Route::get("/api/v1/user");
/// Creates a user.
pub const USER_CREATE: Route = Route::post("/api/v1/user");
/// Deletes a user; `{id}` may also be a name, as before 0.26.
pub const USER_DELETE: Route = Route::delete("/api/v1/user/{id}");
/// Renames a user; `{oldId}` may also be a name, as before 0.26.
pub const USER_RENAME: Route = Route::post("/api/v1/user/{oldId}/rename/{newName}");
/// Gives a user a role ([`crate::v1::user::SetRoleRequest`]); `{id}` may also be a name.
pub const USER_ROLE: Route = Route::post("/api/v1/user/{id}/role");

/// Lists auth keys.
pub const PREAUTHKEY_LIST: Route = Route::get("/api/v1/preauthkey");
/// Creates an auth key; the only answer that carries its secret.
pub const PREAUTHKEY_CREATE: Route = Route::post("/api/v1/preauthkey");
/// Expires an auth key at once.
pub const PREAUTHKEY_EXPIRE: Route = Route::post("/api/v1/preauthkey/expire");
/// Deletes an auth key ([`crate::v1::preauthkey::DeletePreAuthKeyQuery`]).
pub const PREAUTHKEY_DELETE: Route = Route::delete("/api/v1/preauthkey");

/// Lists nodes ([`crate::v1::node::ListNodesQuery`]).
pub const NODE_LIST: Route = Route::get("/api/v1/node");
/// One node.
pub const NODE_GET: Route = Route::get("/api/v1/node/{id}");
/// Deletes a node.
pub const NODE_DELETE: Route = Route::delete("/api/v1/node/{id}");
/// Sets or clears a node's expiry; the request stands in the body or in the query.
pub const NODE_EXPIRE: Route = Route::post("/api/v1/node/{id}/expire");
/// Gives a node a name.
pub const NODE_RENAME: Route = Route::post("/api/v1/node/{id}/rename/{newName}");
/// Replaces a node's tags.
pub const NODE_TAGS: Route = Route::post("/api/v1/node/{id}/tags");
/// Replaces a node's approved routes.
pub const NODE_APPROVE_ROUTES: Route = Route::post("/api/v1/node/{id}/approve_routes");
/// Completes a web login ([`crate::v1::node::RegisterNodeQuery`]); deprecated for [`AUTH_REGISTER`].
pub const NODE_REGISTER: Route = Route::post("/api/v1/node/register");
/// Gives nodes addresses of families they lack ([`crate::v1::node::BackfillQuery`]).
pub const NODE_BACKFILL: Route = Route::post("/api/v1/node/backfillips");
/// The routes of one node, as before 0.26.
pub const NODE_ROUTES: Route = Route::get("/api/v1/node/{id}/routes");

/// All routes of all nodes, as before 0.26.
pub const ROUTE_LIST: Route = Route::get("/api/v1/routes");
/// Approves one route, as before 0.26.
pub const ROUTE_ENABLE: Route = Route::post("/api/v1/routes/{id}/enable");
/// Takes the approval of one route back, as before 0.26.
pub const ROUTE_DISABLE: Route = Route::post("/api/v1/routes/{id}/disable");
/// Forgets one route: its approval goes, and it is listed again only while it is advertised. As before 0.26.
pub const ROUTE_DELETE: Route = Route::delete("/api/v1/routes/{id}");

/// Lists API keys, without their secrets.
pub const APIKEY_LIST: Route = Route::get("/api/v1/apikey");
/// Creates an API key; the only answer that carries its secret.
pub const APIKEY_CREATE: Route = Route::post("/api/v1/apikey");
/// Expires an API key at once.
pub const APIKEY_EXPIRE: Route = Route::post("/api/v1/apikey/expire");
/// Deletes an API key by prefix, or by `?id=` ([`crate::v1::apikey::DeleteApiKeyQuery`]), which then counts alone.
pub const APIKEY_DELETE: Route = Route::delete("/api/v1/apikey/{prefix}");

/// Completes a web login.
pub const AUTH_REGISTER: Route = Route::post("/api/v1/auth/register");
/// Approves a pending request, such as an SSH check.
pub const AUTH_APPROVE: Route = Route::post("/api/v1/auth/approve");
/// Rejects a pending request.
pub const AUTH_REJECT: Route = Route::post("/api/v1/auth/reject");
/// Lists what waits for an approval. Not in Headscale.
pub const AUTH_PENDING: Route = Route::get("/api/v1/auth/pending");

/// The policy in force.
pub const POLICY_GET: Route = Route::get("/api/v1/policy");
/// Replaces the policy (database mode only).
pub const POLICY_SET: Route = Route::put("/api/v1/policy");
/// Checks a policy, its tests included, without setting it.
pub const POLICY_CHECK: Route = Route::post("/api/v1/policy/check");
/// What a policy would change, and for whom. Not in Headscale.
pub const POLICY_PREVIEW: Route = Route::post("/api/v1/policy/preview");
/// Whether one node may reach another, and why. Not in Headscale.
pub const POLICY_EXPLAIN: Route = Route::post("/api/v1/policy/explain");

/// Whether the server works.
pub const HEALTH: Route = Route::get("/api/v1/health");
/// Makes a pending registration, for tests.
pub const DEBUG_CREATE_NODE: Route = Route::post("/api/v1/debug/node");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_order_and_encoded() {
        assert_eq!(NODE_RENAME.fill(&["7", "böb/x y"]), "/api/v1/node/7/rename/b%C3%B6b%2Fx%20y");
        assert_eq!(USER_LIST.fill(&[]), "/api/v1/user");
        assert_eq!(NODE_GET.fill(&[]), "/api/v1/node/");
    }
}
