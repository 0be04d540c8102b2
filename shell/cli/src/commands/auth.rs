//! `auth`

use clap::{Args, Subcommand};
use headsail_api::UserRef;
use headsail_api::v1::auth::{AuthRegisterRequest, AuthRequest, PendingAuth, PendingKind};

use super::{Ctx, resolve};
use crate::flags::request_id;
use crate::output::Outcome;
use crate::output::{self, Answer, Table};

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
            let node = ctx.client.auth_register(&request).await?.node;
            Ok(Answer::new(&node, format!("Node `{}` registered.", node.given_name)))
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

fn table(pending: &[PendingAuth]) -> Table {
    let mut table = Table::new(["ID", "Kind", "From", "To", "Created", "Expires"]);
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
        ]);
    }
    table
}
