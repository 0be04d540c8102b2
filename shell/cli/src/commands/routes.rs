//! `routes`: the interface to routes that Headscale had before 0.26 and that guides still teach.

use clap::{ArgAction, Args, Subcommand};
use headsail_api::v1::Empty;
use headsail_api::v1::route::Route;

use super::{Ctx, resolve};
use crate::flags::go_bool;
use crate::output::Outcome;
use crate::output::{Answer, Failure, Table};

/// `routes …`
#[derive(Debug, Args)]
pub struct RoutesArgs {
    #[command(subcommand)]
    pub command: RoutesCommand,
}

/// The commands on routes.
#[derive(Debug, Subcommand)]
pub enum RoutesCommand {
    /// List routes
    #[command(visible_aliases = ["ls", "show"])]
    List {
        /// Only those of this node: its id or name
        #[arg(short, long, value_name = "NODE", allow_negative_numbers = true)]
        identifier: Option<String>,
    },
    /// Approve routes
    Enable(Selection),
    /// Take the approval of routes back
    Disable(Selection),
    /// Forget routes
    #[command(visible_alias = "del")]
    Delete(Selection),
}

/// Which routes.
#[derive(Debug, Args)]
pub struct Selection {
    /// Ids as `routes list` shows them, or with --identifier prefixes such as 10.0.0.0/8
    #[arg(
        short,
        long,
        visible_alias = "route-id",
        value_name = "ROUTE",
        value_delimiter = ',',
        allow_negative_numbers = true,
        required_unless_present = "all"
    )]
    pub route: Vec<String>,
    /// The node whose routes are meant: its id or name
    #[arg(short, long, value_name = "NODE", required_if_eq("all", "true"), allow_negative_numbers = true)]
    pub identifier: Option<String>,
    /// All routes of the node
    #[arg(
        short, long, conflicts_with = "route", action = ArgAction::Set, value_parser = go_bool,
        num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true
    )]
    pub all: Option<bool>,
}

/// What is to be done with routes.
#[derive(Clone, Copy)]
enum Act {
    Enable,
    Disable,
    Delete,
}

/// Runs a command on routes.
pub async fn run(command: RoutesCommand, ctx: &Ctx) -> Outcome {
    match command {
        RoutesCommand::List { identifier } => {
            let routes = routes(ctx, identifier.as_deref()).await?;
            Ok(Answer::new(&routes, table(&routes)))
        }
        RoutesCommand::Enable(selection) => act(ctx, selection, Act::Enable).await,
        RoutesCommand::Disable(selection) => act(ctx, selection, Act::Disable).await,
        RoutesCommand::Delete(selection) => act(ctx, selection, Act::Delete).await,
    }
}

async fn routes(ctx: &Ctx, node: Option<&str>) -> Result<Vec<Route>, Failure> {
    let mut routes = ctx.client.list_routes().await?.routes;
    if let Some(wanted) = node {
        let id = resolve::node_id(ctx, wanted).await?;
        routes.retain(|r| r.node.as_ref().is_some_and(|n| n.id == id));
    }
    Ok(routes)
}

async fn act(ctx: &Ctx, selection: Selection, act: Act) -> Outcome {
    let routes = routes(ctx, selection.identifier.as_deref()).await?;
    let chosen = if selection.all == Some(true) {
        routes.iter().collect()
    } else {
        let found =
            selection.route.iter().map(|wanted| find(&routes, wanted, selection.identifier.is_some()));
        found.collect::<Result<Vec<&Route>, Failure>>()?
    };
    let mut lines = Vec::new();
    for route in chosen {
        let done = match act {
            Act::Enable => ctx.client.enable_route(route.id).await.map(|_| "approved"),
            Act::Disable => ctx.client.disable_route(route.id).await.map(|_| "no longer approved"),
            Act::Delete => ctx.client.delete_route(route.id).await.map(|_| "forgotten"),
        }?;
        lines.push(format!("Route {} ({} of `{}`) is {done}.", route.id, route.prefix, host(route)));
    }
    if lines.is_empty() {
        lines.push("This node has no routes.".to_owned());
    }
    Ok(Answer::new(&Empty {}, lines.join("\n")))
}

/// The route of this id, or among those of one node of this prefix.
fn find<'a>(routes: &'a [Route], wanted: &str, of_one_node: bool) -> Result<&'a Route, Failure> {
    let wanted = wanted.trim();
    let id: Option<u64> = wanted.parse().ok();
    if id.is_none() && !of_one_node {
        return Err(Failure::new(format!(
            "`{wanted}` is not the id of a route; say with --identifier which node's prefix it is, or see `routes list`"
        )));
    }
    let fits = |r: &&Route| id.map_or(r.prefix == wanted, |id| r.id == id);
    routes
        .iter()
        .find(fits)
        .ok_or_else(|| Failure::new(format!("there is no route `{wanted}`; see `routes list`")))
}

/// The name of the node that has a route.
fn host(route: &Route) -> &str {
    route.node.as_ref().map_or("-", |n| &n.given_name)
}

fn table(routes: &[Route]) -> Table {
    let mut table = Table::new(["ID", "Node", "Prefix", "Advertised", "Enabled", "Primary"]);
    for r in routes {
        let is_exit = r.prefix == "0.0.0.0/0" || r.prefix == "::/0";
        table.row([
            r.id.into(),
            host(r).into(),
            (&r.prefix).into(),
            r.advertised.into(),
            r.enabled.into(),
            // Several exit nodes serve at once: none of them is the first.
            if is_exit { "-".into() } else { r.is_primary.into() },
        ]);
    }
    table
}
