//! `routes`: the commands that Headscale had before 0.26. Many guides still use them.

use clap::{ArgAction, Args, Subcommand};
use headsail_api::v1::Empty;
use headsail_api::v1::route::Route;

use super::{Ctx, resolve};
use crate::flags::go_bool;
use crate::output::Outcome;
use crate::output::{Answer, Failure, Table};

#[derive(Debug, Args)]
pub struct RoutesArgs {
    #[command(subcommand)]
    pub command: RoutesCommand,
}

#[derive(Debug, Subcommand)]
pub enum RoutesCommand {
    /// List routes
    #[command(visible_aliases = ["ls", "show"])]
    List {
        /// Only routes of this node: id, name or address
        #[arg(short, long, value_name = "NODE", allow_negative_numbers = true)]
        identifier: Option<String>,
    },
    /// Approve routes
    Enable(Selection),
    /// Withdraw the approval of routes
    Disable(Selection),
    /// Delete routes; one that is still advertised stays listed, unapproved
    #[command(visible_alias = "del")]
    Delete(Selection),
}

#[derive(Debug, Args)]
pub struct Selection {
    /// Route ids as `routes list` shows them, or, with --identifier, prefixes such as 10.0.0.0/8
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
    /// The node the routes belong to: id, name or address
    #[arg(short, long, value_name = "NODE", required_if_eq("all", "true"), allow_negative_numbers = true)]
    pub identifier: Option<String>,
    /// All routes of the node
    #[arg(
        short, long, conflicts_with = "route", action = ArgAction::Set, value_parser = go_bool,
        num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true
    )]
    pub all: Option<bool>,
}

#[derive(Clone, Copy)]
enum Action {
    Enable,
    Disable,
    Delete,
}

pub async fn run(command: RoutesCommand, ctx: &Ctx) -> Outcome {
    match command {
        RoutesCommand::List { identifier } => {
            let routes = routes(ctx, identifier.as_deref()).await?;
            Ok(Answer::new(&routes, table(&routes)))
        }
        RoutesCommand::Enable(selection) => apply(ctx, selection, Action::Enable).await,
        RoutesCommand::Disable(selection) => apply(ctx, selection, Action::Disable).await,
        RoutesCommand::Delete(selection) => apply(ctx, selection, Action::Delete).await,
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

async fn apply(ctx: &Ctx, selection: Selection, action: Action) -> Outcome {
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
        let (id, prefix, node) = (route.id, &route.prefix, host(route));
        lines.push(match action {
            Action::Enable => {
                ctx.client.enable_route(id).await?;
                format!("Route {id} ({prefix} of `{node}`) is approved.")
            }
            Action::Disable => {
                ctx.client.disable_route(id).await?;
                format!("Route {id} ({prefix} of `{node}`) is no longer approved.")
            }
            Action::Delete => {
                ctx.client.delete_route(id).await?;
                format!("Route {id} ({prefix} of `{node}`) was deleted.")
            }
        });
    }
    if lines.is_empty() {
        lines.push("This node has no routes.".to_owned());
    }
    Ok(Answer::new(&Empty {}, lines.join("\n")))
}

/// The route with this id or, among the routes of one node, with this prefix.
fn find<'a>(routes: &'a [Route], wanted: &str, of_one_node: bool) -> Result<&'a Route, Failure> {
    let wanted = wanted.trim();
    let id: Option<u64> = wanted.parse().ok();
    if id.is_none() && !of_one_node {
        return Err(Failure::new(format!(
            "`{wanted}` is not a route id (see `routes list`); to use a prefix, name the node with --identifier"
        )));
    }
    let matches = |r: &&Route| id.map_or(r.prefix == wanted, |id| r.id == id);
    routes
        .iter()
        .find(matches)
        .ok_or_else(|| Failure::new(format!("there is no route `{wanted}`; see `routes list`")))
}

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
            // Several exit nodes serve at the same time, so none of them is the primary.
            if is_exit { "-".into() } else { r.is_primary.into() },
        ]);
    }
    table
}
