//! `nodes`

mod show;

use clap::{ArgAction, Args, Subcommand};
use headsail_api::v1::node::{
    ApproveRoutesRequest, ExpireNodeRequest, ListNodesQuery, Node, RegisterNodeQuery, SetTagsRequest,
};
use headsail_api::{Timestamp, UserRef};
use serde_json::json;

use super::{Ctx, resolve};
use crate::flags::{go_bool, request_id, time_of};
use crate::output::Outcome;
use crate::output::{self, Answer, Failure};
use crate::prompt;

#[derive(Debug, Args)]
pub struct NodesArgs {
    /// A user before the command, as in Headscale before 0.19
    #[arg(short = 'n', long = "namespace", short_alias = 'u', alias = "user", hide = true)]
    pub group_user: Option<UserRef>,
    #[command(subcommand)]
    pub command: NodesCommand,
}

#[derive(Debug, Subcommand)]
pub enum NodesCommand {
    /// List nodes
    #[command(visible_aliases = ["ls", "show"])]
    List {
        #[command(flatten)]
        owner: Owner,
        /// No effect: tags are always shown
        #[arg(short, long, hide = true)]
        tags: bool,
    },
    /// List nodes with their routes
    #[command(name = "list-routes", visible_aliases = ["lsr", "routes"])]
    ListRoutes {
        /// Only this node: id, name or address
        #[arg(short, long, value_name = "NODE", allow_negative_numbers = true)]
        identifier: Option<String>,
    },
    /// Complete a node's pending login (deprecated: use `auth register`)
    Register {
        #[command(flatten)]
        owner: Owner,
        /// The id on the login page, or the URL of that page
        #[arg(short, long, required_unless_present = "word", value_parser = request_id)]
        key: Option<String>,
        /// The key, as in Headscale before 0.12
        #[arg(value_name = "KEY", hide = true, conflicts_with = "key", value_parser = request_id)]
        word: Option<String>,
    },
    /// Expire a node's login, or set when it expires
    #[command(visible_aliases = ["logout", "exp", "e"])]
    Expire {
        #[command(flatten)]
        which: Which,
        /// Expire at this time instead of now, for example 2026-01-31T12:00:00Z
        #[arg(short, long, value_name = "TIME", value_parser = time_of, allow_hyphen_values = true)]
        expiry: Option<Timestamp>,
        /// Never expire
        #[arg(
            short, long, conflicts_with = "expiry", action = ArgAction::Set, value_parser = go_bool,
            num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
            hide_default_value = true, hide_possible_values = true
        )]
        disable: bool,
    },
    /// Rename a node
    Rename {
        #[command(flatten)]
        which: Which,
        /// The new name: letters, digits and hyphens
        new_name: String,
    },
    /// Delete a node
    #[command(visible_alias = "del")]
    Delete {
        #[command(flatten)]
        which: Which,
    },
    /// Replace a node's tags
    #[command(visible_aliases = ["tags", "t"])]
    Tag {
        #[command(flatten)]
        which: Which,
        /// The tags, for example tag:web,tag:prod
        #[arg(short, long, required = true, value_delimiter = ',', value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Set a node's approved routes, replacing those approved before
    #[command(name = "approve-routes")]
    ApproveRoutes {
        #[command(flatten)]
        which: Which,
        /// The routes, for example 10.0.0.0/8,192.168.1.0/24; an empty string approves none
        #[arg(short, long, required = true, value_delimiter = ',', value_name = "PREFIX")]
        routes: Vec<String>,
    },
    /// Assign missing addresses to nodes, and remove addresses outside the configured prefixes
    #[command(name = "backfillips")]
    BackfillIps,
    /// Move a node to another user, as in Headscale before 0.28
    #[command(visible_alias = "mv", hide = true)]
    Move {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        owner: Owner,
    },
}

#[derive(Debug, Args)]
pub struct Owner {
    /// The user's name or id
    #[arg(short, long, short_alias = 'n', alias = "namespace", allow_negative_numbers = true)]
    pub user: Option<UserRef>,
}

#[derive(Debug, Args)]
pub struct Which {
    /// The node: id, name or address
    #[arg(short, long, value_name = "NODE", allow_negative_numbers = true)]
    pub identifier: String,
}

pub async fn run(args: NodesArgs, ctx: &Ctx) -> Outcome {
    let group_user = args.group_user;
    match args.command {
        NodesCommand::List { owner, .. } => list(ctx, owner.user.or(group_user)).await,
        NodesCommand::ListRoutes { identifier } => list_routes(ctx, identifier).await,
        NodesCommand::Register { owner, key, word } => {
            let key = key.or(word).unwrap_or_default();
            register(ctx, owner.user.or(group_user), key).await
        }
        NodesCommand::Expire { which, expiry, disable } => expire(ctx, &which, expiry, disable).await,
        NodesCommand::Rename { which, new_name } => {
            if new_name.is_empty() {
                return Err(Failure::new("a node's name cannot be empty"));
            }
            let id = resolve::node_id(ctx, &which.identifier).await?;
            let node = ctx.client.rename_node(id, &new_name).await?.node;
            Ok(Answer::new(&node, format!("Node {id} was renamed to `{}`.", node.given_name)))
        }
        NodesCommand::Delete { which } => delete(ctx, &which).await,
        NodesCommand::Tag { which, tags } => {
            let id = resolve::node_id(ctx, &which.identifier).await?;
            let node = ctx.client.set_tags(id, &SetTagsRequest { tags: non_empty(tags) }).await?.node;
            let text = format!("Node `{}` has the tags {}.", node.given_name, node.tags.join(", "));
            Ok(Answer::new(&node, text))
        }
        NodesCommand::ApproveRoutes { which, routes } => {
            let id = resolve::node_id(ctx, &which.identifier).await?;
            let node = ctx
                .client
                .approve_routes(id, &ApproveRoutesRequest { routes: non_empty(routes) })
                .await?
                .node;
            let text = match node.approved_routes.as_slice() {
                [] => format!("Node `{}` has no approved routes.", node.given_name),
                routes => format!("Approved routes of node `{}`: {}.", node.given_name, routes.join(", ")),
            };
            Ok(Answer::new(&node, text))
        }
        NodesCommand::BackfillIps => backfill(ctx).await,
        NodesCommand::Move { .. } => Err(Failure::new(
            "nodes cannot be moved between users; run `nodes expire`, then log the node in again as the other user",
        )),
    }
}

/// Drops the empty items that stray commas or an empty string leave in a list.
fn non_empty(items: Vec<String>) -> Vec<String> {
    items.into_iter().map(|i| i.trim().to_owned()).filter(|i| !i.is_empty()).collect()
}

async fn list(ctx: &Ctx, user: Option<UserRef>) -> Outcome {
    let mut nodes = ctx.client.list_nodes(&ListNodesQuery::default()).await?.nodes;
    if let Some(user) = user {
        let user = resolve::user(ctx, &user).await?;
        nodes.retain(|n| n.user.as_ref().is_some_and(|u| u.id == user.id));
    }
    Ok(Answer::new(&nodes, show::nodes(&nodes, Timestamp::now())))
}

async fn list_routes(ctx: &Ctx, identifier: Option<String>) -> Outcome {
    let nodes = match identifier {
        Some(wanted) => vec![ctx.client.get_node(resolve::node_id(ctx, &wanted).await?).await?.node],
        None => {
            let has_routes = |n: &Node| !n.available_routes.is_empty() || !n.approved_routes.is_empty();
            let nodes = ctx.client.list_nodes(&ListNodesQuery::default()).await?.nodes;
            nodes.into_iter().filter(has_routes).collect()
        }
    };
    Ok(Answer::new(&nodes, show::routes(&nodes)))
}

async fn register(ctx: &Ctx, user: Option<UserRef>, key: String) -> Outcome {
    let user = user.ok_or_else(|| Failure::new("specify who will own the node with --user"))?;
    output::remark("warning: `nodes register` is deprecated; use `auth register --auth-id ID --user USER`");
    let user = UserRef::Name(resolve::user_name(ctx, &user).await?);
    Ok(super::auth::registered(ctx.client.register_node(&RegisterNodeQuery { user: Some(user), key }).await?))
}

async fn expire(ctx: &Ctx, which: &Which, expiry: Option<Timestamp>, disable: bool) -> Outcome {
    let id = resolve::node_id(ctx, &which.identifier).await?;
    let request = ExpireNodeRequest { expiry, disable_expiry: disable };
    let node = ctx.client.expire_node(id, &request).await?.node;
    let text = match node.expiry {
        None => format!("The login of node `{}` never expires.", node.given_name),
        Some(at) if expiry.is_some() => {
            format!("The login of node `{}` expires at {} UTC.", node.given_name, output::time(Some(at)))
        }
        Some(_) => format!("The login of node `{}` has expired.", node.given_name),
    };
    Ok(Answer::new(&node, text))
}

async fn delete(ctx: &Ctx, which: &Which) -> Outcome {
    let id = resolve::node_id(ctx, &which.identifier).await?;
    let node = ctx.client.get_node(id).await?.node;
    if !prompt::confirm(&format!("Delete node `{}` ({id})?", node.given_name), ctx.force)? {
        return Ok(Answer::new(&json!({ "Result": "Node not deleted" }), "Nothing was deleted."));
    }
    let done = ctx.client.delete_node(id).await?;
    Ok(Answer::new(&done, format!("Node `{}` deleted.", node.given_name)))
}

async fn backfill(ctx: &Ctx) -> Outcome {
    let question = "Assign missing addresses to nodes, and remove addresses outside the configured prefixes?";
    if !prompt::confirm(question, ctx.force)? {
        return Ok(Answer::new(&json!({ "Result": "Addresses not changed" }), "Nothing was changed."));
    }
    let done = ctx.client.backfill_addresses().await?;
    let text = match done.changes.as_slice() {
        [] => "Every node already has the addresses it should have.".to_owned(),
        changes => changes.join("\n"),
    };
    Ok(Answer::new(&done, text))
}
