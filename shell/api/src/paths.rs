//! The table of operations: method, path, request and response of each. The server mounts them, the client calls them, and
//! the OpenAPI document describes them.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::v1::Empty;
use crate::v1::apikey::{
    CreateApiKeyRequest, CreateApiKeyResponse, DeleteApiKeyQuery, ExpireApiKeyRequest, ListApiKeysResponse,
};
use crate::v1::auth::{AuthRegisterRequest, AuthRequest, ListPendingResponse, RegisterAuthResponse};
use crate::v1::debug::CreateDebugNodeRequest;
use crate::v1::health::HealthResponse;
use crate::v1::log::{ListChangesQuery, ListChangesResponse};
use crate::v1::node::{
    ApproveRoutesRequest, BackfillQuery, BackfillResponse, ExpireNodeRequest, ListNodesQuery,
    ListNodesResponse, NodeResponse, RegisterNodeQuery, SetTagsRequest,
};
use crate::v1::policy::{
    CheckPolicyResponse, ExplainRequest, ExplainResponse, PolicyRequest, PolicyResponse,
    PreviewPolicyResponse,
};
use crate::v1::preauthkey::{
    CreatePreAuthKeyRequest, CreatePreAuthKeyResponse, DeletePreAuthKeyQuery, ExpirePreAuthKeyRequest,
    ListPreAuthKeysQuery, ListPreAuthKeysResponse,
};
use crate::v1::route::ListRoutesResponse;
use crate::v1::user::{CreateUserRequest, ListUsersQuery, ListUsersResponse, SetRoleRequest, UserResponse};

/// The HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads a resource.
    Get,
    /// Creates a resource or performs an action.
    Post,
    /// Replaces a resource.
    Put,
    /// Deletes a resource.
    Delete,
}

impl Method {
    /// The method as written in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

/// The method and path of an operation. A `{placeholder}` takes a whole path segment. All routes are in [`OPERATIONS`]; none
/// can be created elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, such as `/api/v1/node/{id}`.
    pub path: &'static str,
}

impl Route {
    /// The path with its placeholders replaced by `values` in order, percent-encoded. A placeholder without a value
    /// becomes empty.
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

/// Produces the schema of a type with the settings of a generator.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request carries in addition to its path.
#[derive(Clone, Copy)]
pub enum Takes {
    /// Neither query parameters nor a body.
    Nothing,
    /// Query parameters.
    Query(SchemaOf),
    /// A JSON object in the body.
    Body(SchemaOf),
    /// Query parameters, or a JSON object in the body.
    QueryOrBody(SchemaOf),
}

/// An operation, with everything that the OpenAPI document says about it ([`crate::openapi`]).
#[derive(Clone, Copy)]
pub struct Operation {
    /// Method and path.
    pub route: Route,
    /// The unique operation id.
    pub id: &'static str,
    /// The description; its first sentence is the summary.
    pub text: &'static str,
    /// What a request carries.
    pub takes: Takes,
    /// The schema of the response with status 200.
    pub gives: SchemaOf,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

fn reference_to<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Declares each operation once: its route as a constant, and its row in [`OPERATIONS`].
macro_rules! operations {
    ($($(#[doc = $text:literal])+ $name:ident = $id:literal $method:ident $path:literal $takes:ident $(($type:ty))? => $gives:ty;)+) => {
        $($(#[doc = $text])+ pub const $name: Route = Route { method: Method::$method, path: $path };)+

        /// Every operation.
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            route: $name,
            id: $id,
            text: concat!($($text),+),
            takes: operations!(@ $takes $(($type))?),
            gives: reference_to::<$gives>,
        }),+];
    };
    (@ Nothing) => { Takes::Nothing };
    (@ Query($type:ty)) => { Takes::Query(schema_of::<$type>) };
    (@ Body($type:ty)) => { Takes::Body(reference_to::<$type>) };
    (@ QueryOrBody($type:ty)) => { Takes::QueryOrBody(schema_of::<$type>) };
}

operations! {
    /// Lists users. Only one filter applies: the name, otherwise the e-mail address, otherwise the id.
    USER_LIST = "listUsers" Get "/api/v1/user" Query(ListUsersQuery) => ListUsersResponse;
    /// Creates a user.
    USER_CREATE = "createUser" Post "/api/v1/user" Body(CreateUserRequest) => UserResponse;
    /// Deletes a user who owns no nodes, and the user's pre-auth keys.
    USER_DELETE = "deleteUser" Delete "/api/v1/user/{id}" Nothing => Empty;
    /// Renames a user.
    USER_RENAME = "renameUser" Post "/api/v1/user/{oldId}/rename/{newName}" Nothing => UserResponse;
    /// Sets a user's role. Not in Headscale.
    USER_ROLE = "setUserRole" Post "/api/v1/user/{id}/role" Body(SetRoleRequest) => UserResponse;

    /// Lists pre-auth keys, without their secrets.
    PREAUTHKEY_LIST = "listPreAuthKeys" Get "/api/v1/preauthkey" Query(ListPreAuthKeysQuery) => ListPreAuthKeysResponse;
    /// Creates a pre-auth key. Only this response contains its secret. Without an expiration, the key is valid for one hour.
    PREAUTHKEY_CREATE = "createPreAuthKey" Post "/api/v1/preauthkey" Body(CreatePreAuthKeyRequest) => CreatePreAuthKeyResponse;
    /// Expires a pre-auth key now.
    PREAUTHKEY_EXPIRE = "expirePreAuthKey" Post "/api/v1/preauthkey/expire" Body(ExpirePreAuthKeyRequest) => Empty;
    /// Deletes a pre-auth key.
    PREAUTHKEY_DELETE = "deletePreAuthKey" Delete "/api/v1/preauthkey" Query(DeletePreAuthKeyQuery) => Empty;

    /// Lists nodes.
    NODE_LIST = "listNodes" Get "/api/v1/node" Query(ListNodesQuery) => ListNodesResponse;
    /// Gets one node.
    NODE_GET = "getNode" Get "/api/v1/node/{id}" Nothing => NodeResponse;
    /// Deletes a node.
    NODE_DELETE = "deleteNode" Delete "/api/v1/node/{id}" Nothing => Empty;
    /// Sets or disables a node's expiry. Without a time, the node's login expires now.
    NODE_EXPIRE = "expireNode" Post "/api/v1/node/{id}/expire" QueryOrBody(ExpireNodeRequest) => NodeResponse;
    /// Renames a node.
    NODE_RENAME = "renameNode" Post "/api/v1/node/{id}/rename/{newName}" Nothing => NodeResponse;
    /// Replaces a node's tags.
    NODE_TAGS = "setTags" Post "/api/v1/node/{id}/tags" Body(SetTagsRequest) => NodeResponse;
    /// Replaces a node's approved routes.
    NODE_APPROVE_ROUTES = "setApprovedRoutes" Post "/api/v1/node/{id}/approve_routes" Body(ApproveRoutesRequest) => NodeResponse;
    /// Completes a pending login. Deprecated: use `/api/v1/auth/register`.
    NODE_REGISTER = "registerNode" Post "/api/v1/node/register" QueryOrBody(RegisterNodeQuery) => RegisterAuthResponse;
    /// Assigns missing addresses to nodes, and removes addresses outside the configured prefixes.
    NODE_BACKFILL = "backfillNodeIPs" Post "/api/v1/node/backfillips" QueryOrBody(BackfillQuery) => BackfillResponse;
    /// Lists the routes of one node. As in Headscale before 0.26.
    NODE_ROUTES = "getNodeRoutes" Get "/api/v1/node/{id}/routes" Nothing => ListRoutesResponse;

    /// Lists the routes of all nodes. As in Headscale before 0.26.
    ROUTE_LIST = "getRoutes" Get "/api/v1/routes" Nothing => ListRoutesResponse;
    /// Approves a route. As in Headscale before 0.26.
    ROUTE_ENABLE = "enableRoute" Post "/api/v1/routes/{id}/enable" Nothing => Empty;
    /// Withdraws the approval of a route. As in Headscale before 0.26.
    ROUTE_DISABLE = "disableRoute" Post "/api/v1/routes/{id}/disable" Nothing => Empty;
    /// Deletes a route and its approval. As in Headscale before 0.26. While a node still advertises the route, it stays listed, unapproved.
    ROUTE_DELETE = "deleteRoute" Delete "/api/v1/routes/{id}" Nothing => Empty;

    /// Lists API keys, without their secrets.
    APIKEY_LIST = "listApiKeys" Get "/api/v1/apikey" Nothing => ListApiKeysResponse;
    /// Creates an API key. Only this response contains its secret. Without an expiration, the key is valid for 90 days.
    APIKEY_CREATE = "createApiKey" Post "/api/v1/apikey" Body(CreateApiKeyRequest) => CreateApiKeyResponse;
    /// Expires an API key now.
    APIKEY_EXPIRE = "expireApiKey" Post "/api/v1/apikey/expire" Body(ExpireApiKeyRequest) => Empty;
    /// Deletes an API key. If the query has an id, the prefix in the path is ignored.
    APIKEY_DELETE = "deleteApiKey" Delete "/api/v1/apikey/{prefix}" Query(DeleteApiKeyQuery) => Empty;

    /// Completes a pending login.
    AUTH_REGISTER = "authRegister" Post "/api/v1/auth/register" Body(AuthRegisterRequest) => RegisterAuthResponse;
    /// Approves a pending request, such as an SSH check.
    AUTH_APPROVE = "authApprove" Post "/api/v1/auth/approve" Body(AuthRequest) => Empty;
    /// Rejects a pending login or SSH check.
    AUTH_REJECT = "authReject" Post "/api/v1/auth/reject" Body(AuthRequest) => Empty;
    /// Lists pending logins and SSH checks. Not in Headscale.
    AUTH_PENDING = "listPendingAuth" Get "/api/v1/auth/pending" Nothing => ListPendingResponse;

    /// Gets the active policy.
    POLICY_GET = "getPolicy" Get "/api/v1/policy" Nothing => PolicyResponse;
    /// Replaces the policy. Only if the policy is stored in the database.
    POLICY_SET = "setPolicy" Put "/api/v1/policy" Body(PolicyRequest) => PolicyResponse;
    /// Checks a policy, including its tests, without setting it.
    POLICY_CHECK = "checkPolicy" Post "/api/v1/policy/check" Body(PolicyRequest) => CheckPolicyResponse;
    /// Shows what a policy would change, and for which nodes. Not in Headscale.
    POLICY_PREVIEW = "previewPolicy" Post "/api/v1/policy/preview" Body(PolicyRequest) => PreviewPolicyResponse;
    /// Shows whether a connection is allowed, and why. Not in Headscale.
    POLICY_EXPLAIN = "explainPolicy" Post "/api/v1/policy/explain" Body(ExplainRequest) => ExplainResponse;

    /// Lists changes: who changed what, and when. Not in Headscale.
    LOG_LIST = "listChanges" Get "/api/v1/log" Query(ListChangesQuery) => ListChangesResponse;

    /// Reports whether the server and its database are working.
    HEALTH = "health" Get "/api/v1/health" Nothing => HealthResponse;
    /// Creates a pending login, for testing.
    DEBUG_CREATE_NODE = "debugCreateNode" Post "/api/v1/debug/node" Body(CreateDebugNodeRequest) => NodeResponse;
}

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
