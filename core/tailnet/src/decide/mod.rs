//! Turns a command into a list of changes or a rejection. It is pure: the caller passes in the tailnet, the time and the
//! source of randomness.

use crate::change::Change;
use crate::command::{Command, Env, Rejection};
use crate::tailnet::Tailnet;

mod admin_keys;
mod admin_nodes;
mod admin_users;
mod clock;
mod departure;
mod entry;
mod host;
pub mod login;
pub mod map_update;
pub mod policy;
mod register;
pub mod ssh_check;
mod stream;

/// Decides one command. The changes take effect once the caller applies them to `tailnet`.
///
/// # Errors
/// Why the command is rejected; nothing changes then.
pub fn decide(tailnet: &Tailnet, command: &Command, env: &mut Env<'_>) -> Result<Vec<Change>, Rejection> {
    match command {
        Command::Register(registration) => register::register(tailnet, registration, env),
        Command::MapUpdate { node, telling } => map_update::update(tailnet, *node, telling, env.now),
        Command::StreamOpened { node, stream, telling } => {
            stream::opened(tailnet, *node, *stream, telling, env.now)
        }
        Command::StreamClosed { node, stream } => Ok(stream::closed(tailnet, *node, *stream, env.now)),
        Command::Shutdown => Ok(stream::shutdown(tailnet, env.now)),
        Command::Due(row) => Ok(clock::due(tailnet, row, env.now)),
        Command::Configure(settings) => Ok(vec![Change::Settings(settings.clone())]),
        Command::GrantTicket { ticket, user } => login::grant(tailnet, ticket, *user, env),
        Command::RefuseTicket { ticket } => login::refuse(tailnet, ticket),
        Command::MakeTicket { ticket, asking } => login::make(tailnet, ticket, asking, env.now),
        Command::CreateUser(user) => admin_users::create(tailnet, user, env.now),
        Command::RenameUser { user, name } => admin_users::rename(tailnet, *user, name),
        Command::SetRole { user, role } => admin_users::set_role(tailnet, *user, *role),
        Command::DestroyUser(user) => admin_users::destroy(tailnet, *user),
        Command::CreateAuthKey(key) => admin_keys::create_auth_key(tailnet, key, env.now),
        Command::ExpireAuthKey(id) => admin_keys::expire_auth_key(tailnet, *id, env.now),
        Command::DeleteAuthKey(id) => admin_keys::delete_auth_key(tailnet, *id),
        Command::CreateApiKey { prefix, digest, expiration } => {
            admin_keys::create_api_key(tailnet, prefix, *digest, *expiration, env.now)
        }
        Command::ExpireApiKey(id) => admin_keys::expire_api_key(tailnet, *id, env.now),
        Command::DeleteApiKey(id) => admin_keys::delete_api_key(tailnet, *id),
        Command::ApiKeyUsed(id) => Ok(admin_keys::api_key_used(tailnet, *id, env.now)),
        Command::RenameNode { node, name } => admin_nodes::rename(tailnet, *node, name),
        Command::ExpireNode { node, at } => admin_nodes::expire(tailnet, *node, *at, env.now),
        Command::DeleteNode(node) => admin_nodes::delete(tailnet, *node, env.now),
        Command::TagNode { node, tags } => admin_nodes::tag(tailnet, *node, tags),
        Command::ApproveRoutes { node, routes } => admin_nodes::approve_routes(tailnet, *node, routes),
        Command::EditRoutes { node, approve, withdraw } => {
            admin_nodes::edit_routes(tailnet, *node, approve, withdraw)
        }
        Command::AskSsh { src, dst, account } => ssh_check::ask(tailnet, *src, *dst, account, env),
        Command::GrantSsh { check } => ssh_check::grant(tailnet, check, env.now),
        Command::RefuseSsh { check } => ssh_check::refuse(tailnet, check, env.now),
        Command::SetPolicy { text, kept } => policy::set(tailnet, text, *kept, env.now),
        Command::BackfillIps => admin_nodes::backfill_ips(tailnet, env),
    }
}
