//! One method per operation.

use super::{Client, ClientError};
use crate::paths;
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

type Answer<T> = Result<T, ClientError>;

/// Users.
impl Client {
    /// [`paths::USER_LIST`]
    pub async fn list_users(&self, query: &ListUsersQuery) -> Answer<ListUsersResponse> {
        self.ask(paths::USER_LIST, &[], query).await
    }

    /// [`paths::USER_CREATE`]
    pub async fn create_user(&self, request: &CreateUserRequest) -> Answer<UserResponse> {
        self.send(paths::USER_CREATE, &[], request).await
    }

    /// [`paths::USER_DELETE`]
    pub async fn delete_user(&self, id: u64) -> Answer<Empty> {
        self.ask(paths::USER_DELETE, &[&id.to_string()], &()).await
    }

    /// [`paths::USER_RENAME`]
    pub async fn rename_user(&self, id: u64, new_name: &str) -> Answer<UserResponse> {
        self.ask(paths::USER_RENAME, &[&id.to_string(), new_name], &()).await
    }

    /// [`paths::USER_ROLE`]
    pub async fn set_role(&self, id: u64, request: &SetRoleRequest) -> Answer<UserResponse> {
        self.send(paths::USER_ROLE, &[&id.to_string()], request).await
    }
}

/// Pre-auth keys.
impl Client {
    /// [`paths::PREAUTHKEY_LIST`]
    pub async fn list_pre_auth_keys(&self, query: &ListPreAuthKeysQuery) -> Answer<ListPreAuthKeysResponse> {
        self.ask(paths::PREAUTHKEY_LIST, &[], query).await
    }

    /// [`paths::PREAUTHKEY_CREATE`]
    pub async fn create_pre_auth_key(
        &self,
        request: &CreatePreAuthKeyRequest,
    ) -> Answer<CreatePreAuthKeyResponse> {
        self.send(paths::PREAUTHKEY_CREATE, &[], request).await
    }

    /// [`paths::PREAUTHKEY_EXPIRE`]
    pub async fn expire_pre_auth_key(&self, request: &ExpirePreAuthKeyRequest) -> Answer<Empty> {
        self.send(paths::PREAUTHKEY_EXPIRE, &[], request).await
    }

    /// [`paths::PREAUTHKEY_DELETE`]
    pub async fn delete_pre_auth_key(&self, id: u64) -> Answer<Empty> {
        self.ask(paths::PREAUTHKEY_DELETE, &[], &DeletePreAuthKeyQuery { id: Some(id) }).await
    }
}

/// Nodes.
impl Client {
    /// [`paths::NODE_LIST`]
    pub async fn list_nodes(&self, query: &ListNodesQuery) -> Answer<ListNodesResponse> {
        self.ask(paths::NODE_LIST, &[], query).await
    }

    /// [`paths::NODE_GET`]
    pub async fn get_node(&self, id: u64) -> Answer<NodeResponse> {
        self.ask(paths::NODE_GET, &[&id.to_string()], &()).await
    }

    /// [`paths::NODE_DELETE`]
    pub async fn delete_node(&self, id: u64) -> Answer<Empty> {
        self.ask(paths::NODE_DELETE, &[&id.to_string()], &()).await
    }

    /// [`paths::NODE_EXPIRE`]
    pub async fn expire_node(&self, id: u64, request: &ExpireNodeRequest) -> Answer<NodeResponse> {
        self.send(paths::NODE_EXPIRE, &[&id.to_string()], request).await
    }

    /// [`paths::NODE_RENAME`]
    pub async fn rename_node(&self, id: u64, new_name: &str) -> Answer<NodeResponse> {
        self.ask(paths::NODE_RENAME, &[&id.to_string(), new_name], &()).await
    }

    /// [`paths::NODE_TAGS`]
    pub async fn set_tags(&self, id: u64, request: &SetTagsRequest) -> Answer<NodeResponse> {
        self.send(paths::NODE_TAGS, &[&id.to_string()], request).await
    }

    /// [`paths::NODE_APPROVE_ROUTES`]
    pub async fn approve_routes(&self, id: u64, request: &ApproveRoutesRequest) -> Answer<NodeResponse> {
        self.send(paths::NODE_APPROVE_ROUTES, &[&id.to_string()], request).await
    }

    /// [`paths::NODE_REGISTER`]
    pub async fn register_node(&self, query: &RegisterNodeQuery) -> Answer<RegisterAuthResponse> {
        self.ask(paths::NODE_REGISTER, &[], query).await
    }

    /// [`paths::NODE_BACKFILL`]
    pub async fn backfill_addresses(&self) -> Answer<BackfillResponse> {
        self.ask(paths::NODE_BACKFILL, &[], &BackfillQuery { confirmed: true }).await
    }

    /// [`paths::DEBUG_CREATE_NODE`]
    pub async fn create_debug_node(&self, request: &CreateDebugNodeRequest) -> Answer<NodeResponse> {
        self.send(paths::DEBUG_CREATE_NODE, &[], request).await
    }
}

/// Routes as resources of their own, as in Headscale before 0.26.
impl Client {
    /// [`paths::ROUTE_LIST`]
    pub async fn list_routes(&self) -> Answer<ListRoutesResponse> {
        self.ask(paths::ROUTE_LIST, &[], &()).await
    }

    /// [`paths::ROUTE_ENABLE`]
    pub async fn enable_route(&self, id: u64) -> Answer<Empty> {
        self.ask(paths::ROUTE_ENABLE, &[&id.to_string()], &()).await
    }

    /// [`paths::ROUTE_DISABLE`]
    pub async fn disable_route(&self, id: u64) -> Answer<Empty> {
        self.ask(paths::ROUTE_DISABLE, &[&id.to_string()], &()).await
    }

    /// [`paths::ROUTE_DELETE`]
    pub async fn delete_route(&self, id: u64) -> Answer<Empty> {
        self.ask(paths::ROUTE_DELETE, &[&id.to_string()], &()).await
    }
}

/// API keys.
impl Client {
    /// [`paths::APIKEY_LIST`]
    pub async fn list_api_keys(&self) -> Answer<ListApiKeysResponse> {
        self.ask(paths::APIKEY_LIST, &[], &()).await
    }

    /// [`paths::APIKEY_CREATE`]
    pub async fn create_api_key(&self, request: &CreateApiKeyRequest) -> Answer<CreateApiKeyResponse> {
        self.send(paths::APIKEY_CREATE, &[], request).await
    }

    /// [`paths::APIKEY_EXPIRE`]
    pub async fn expire_api_key(&self, request: &ExpireApiKeyRequest) -> Answer<Empty> {
        self.send(paths::APIKEY_EXPIRE, &[], request).await
    }

    /// [`paths::APIKEY_DELETE`]
    pub async fn delete_api_key(&self, prefix: &str) -> Answer<Empty> {
        self.ask(paths::APIKEY_DELETE, &[prefix], &()).await
    }

    /// [`paths::APIKEY_DELETE`] by id.
    pub async fn delete_api_key_by_id(&self, id: u64) -> Answer<Empty> {
        self.ask(paths::APIKEY_DELETE, &["-"], &DeleteApiKeyQuery { id: Some(id) }).await
    }
}

/// Pending logins and SSH checks.
impl Client {
    /// [`paths::AUTH_REGISTER`]
    pub async fn auth_register(&self, request: &AuthRegisterRequest) -> Answer<RegisterAuthResponse> {
        self.send(paths::AUTH_REGISTER, &[], request).await
    }

    /// [`paths::AUTH_APPROVE`]
    pub async fn auth_approve(&self, request: &AuthRequest) -> Answer<Empty> {
        self.send(paths::AUTH_APPROVE, &[], request).await
    }

    /// [`paths::AUTH_REJECT`]
    pub async fn auth_reject(&self, request: &AuthRequest) -> Answer<Empty> {
        self.send(paths::AUTH_REJECT, &[], request).await
    }

    /// [`paths::AUTH_PENDING`]
    pub async fn auth_pending(&self) -> Answer<ListPendingResponse> {
        self.ask(paths::AUTH_PENDING, &[], &()).await
    }
}

/// The policy, and the server itself.
impl Client {
    /// [`paths::POLICY_GET`]
    pub async fn get_policy(&self) -> Answer<PolicyResponse> {
        self.ask(paths::POLICY_GET, &[], &()).await
    }

    /// [`paths::POLICY_SET`]
    pub async fn set_policy(&self, request: &PolicyRequest) -> Answer<PolicyResponse> {
        self.send(paths::POLICY_SET, &[], request).await
    }

    /// [`paths::POLICY_CHECK`]
    pub async fn check_policy(&self, request: &PolicyRequest) -> Answer<CheckPolicyResponse> {
        self.send(paths::POLICY_CHECK, &[], request).await
    }

    /// [`paths::POLICY_PREVIEW`]
    pub async fn preview_policy(&self, request: &PolicyRequest) -> Answer<PreviewPolicyResponse> {
        self.send(paths::POLICY_PREVIEW, &[], request).await
    }

    /// [`paths::POLICY_EXPLAIN`]
    pub async fn explain_policy(&self, request: &ExplainRequest) -> Answer<ExplainResponse> {
        self.send(paths::POLICY_EXPLAIN, &[], request).await
    }

    /// [`paths::LOG_LIST`]
    pub async fn list_changes(&self, query: &ListChangesQuery) -> Answer<ListChangesResponse> {
        self.ask(paths::LOG_LIST, &[], query).await
    }

    /// [`paths::HEALTH`]
    pub async fn health(&self) -> Answer<HealthResponse> {
        self.ask(paths::HEALTH, &[], &()).await
    }
}
