//! `auth`

use clap::{Args, Subcommand};
use headsail_api::UserRef;
use headsail_api::v1::auth::{
    AuthRegisterRequest, AuthRequest, Granted, PendingAuth, PendingKind, RegisterAuthResponse,
};
use headsail_api::v1::node::Node;
use serde::Serialize;

use super::{Ctx, resolve};
use crate::flags::request_id;
use crate::output::Outcome;
use crate::output::{self, Answer, Cell, Table};

#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Complete a node's pending login
    Register {
        /// The user who will own the node: name or id
        #[arg(short, long)]
        user: UserRef,
        #[command(flatten)]
        which: Which,
    },
    /// Approve a pending request, such as an SSH check
    Approve(Which),
    /// Reject a pending login or SSH check
    Reject(Which),
    /// List pending logins and SSH checks
    #[command(visible_alias = "ls")]
    List,
}

#[derive(Debug, Args)]
pub struct Which {
    /// The id on the login or check page, `hskey-authreq-…`, or the URL of that page
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub auth_id: String,
}

pub async fn run(command: AuthCommand, ctx: &Ctx) -> Outcome {
    match command {
        AuthCommand::Register { user, which } => {
            let user = UserRef::Name(resolve::user_name(ctx, &user).await?);
            let request = AuthRegisterRequest { user: Some(user), auth_id: which.auth_id };
            Ok(registered(ctx.client.auth_register(&request).await?))
        }
        AuthCommand::Approve(Which { auth_id }) => {
            let done = ctx.client.auth_approve(&AuthRequest { auth_id }).await?;
            Ok(Answer::new(&done, "The request was approved."))
        }
        AuthCommand::Reject(Which { auth_id }) => {
            let done = ctx.client.auth_reject(&AuthRequest { auth_id }).await?;
            Ok(Answer::new(&done, "The request was rejected."))
        }
        AuthCommand::List => {
            let pending = ctx.client.auth_pending().await?.pending;
            Ok(Answer::new(&pending, table(&pending)))
        }
    }
}

/// The node that an approval created, and what was granted with it. As JSON, the node has an additional field.
pub fn registered(response: RegisterAuthResponse) -> Answer {
    #[derive(Serialize)]
    struct Registered {
        #[serde(flatten)]
        node: Node,
        granted: Granted,
    }
    let (node, granted) = (response.node, response.granted);
    let mut text = format!("Node `{}` registered.", node.given_name);
    let expiry = granted.expiry.map(|_| output::time(granted.expiry)).unwrap_or_default();
    for (name, value) in [
        ("Owner", granted.user.clone()),
        ("Tags", granted.tags.join(", ")),
        ("Approved routes", granted.approved_routes.join(", ")),
        ("Routes that are not approved", granted.unapproved_routes.join(", ")),
        ("Expires", expiry),
        ("Ephemeral", if granted.ephemeral { "yes".to_owned() } else { String::new() }),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("\n{name}: {value}"));
        }
    }
    Answer::new(&Registered { node, granted }, text)
}

fn table(pending: &[PendingAuth]) -> Table {
    let mut table = Table::new([
        "ID", "Kind", "From", "To", "Created", "Expires", "OS", "Address", "Key", "Tags", "Routes", "Other",
    ]);
    for p in pending {
        let kind = match p.kind {
            PendingKind::Register => "login",
            PendingKind::Ssh => "SSH check",
        };
        table.row([
            (&p.auth_id).into(),
            kind.into(),
            (&p.source).into(),
            (&p.destination).into(),
            output::time(p.created_at).into(),
            output::time(p.expires_at).into(),
            (&p.os).into(),
            (&p.source_address).into(),
            (&p.key_fingerprint).into(),
            Cell::list(&p.requested_tags),
            Cell::list(&p.requested_routes),
            other(p).into(),
        ]);
    }
    table
}

/// What a login asks for besides tags and routes.
fn other(p: &PendingAuth) -> String {
    let ephemeral = p.ephemeral.then(|| "ephemeral".to_owned());
    let expiry = p.requested_expiry.map(|at| format!("expires {}", output::time(Some(at))));
    ephemeral.into_iter().chain(expiry).collect::<Vec<_>>().join(", ")
}
