//! `apikeys`

use std::convert::Infallible;
use std::time::Duration;

use clap::{Args, Subcommand};
use headsail_api::Timestamp;
use headsail_api::v1::apikey::{ApiKey, CreateApiKeyRequest, ExpireApiKeyRequest};

use super::Ctx;
use crate::flags::{after, id, lifetime};
use crate::output::Outcome;
use crate::output::{self, Answer, Table};

#[derive(Debug, Args)]
pub struct ApiKeysArgs {
    #[command(subcommand)]
    pub command: ApiKeysCommand,
}

#[derive(Debug, Subcommand)]
pub enum ApiKeysCommand {
    /// List API keys, without their secrets
    #[command(visible_aliases = ["ls", "show"])]
    List,
    /// Create an API key and print it; it is not shown again
    #[command(visible_aliases = ["c", "new"])]
    Create {
        /// How long the key is valid, for example 24h or 90d
        #[arg(
            short, long, default_value = "90d", value_name = "DURATION", value_parser = lifetime,
            allow_hyphen_values = true
        )]
        expiration: Duration,
    },
    /// Expire an API key now
    #[command(visible_aliases = ["revoke", "exp", "e"])]
    Expire(Which),
    /// Delete an API key
    #[command(visible_aliases = ["remove", "del"])]
    Delete(Which),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The key's prefix, as `apikeys list` shows it
    #[arg(short, long, value_parser = public_part)]
    pub prefix: Option<String>,
    /// The key's id
    #[arg(short, long, value_parser = id, allow_negative_numbers = true)]
    pub id: Option<u64>,
}

/// Extracts the public prefix from the masked form that lists show (`hskey-api-…-***`) or from a whole key. The secret of
/// a whole key is dropped here, so it is never sent.
fn public_part(text: &str) -> Result<String, Infallible> {
    let rest = text.strip_prefix("hskey-api-").unwrap_or(text);
    Ok(rest.split_once('-').map_or(rest, |(public, _)| public).to_owned())
}

pub async fn run(command: ApiKeysCommand, ctx: &Ctx) -> Outcome {
    match command {
        ApiKeysCommand::List => {
            let keys = ctx.client.list_api_keys().await?.api_keys;
            Ok(Answer::new(&keys, table(&keys, Timestamp::now())))
        }
        ApiKeysCommand::Create { expiration } => {
            let request = CreateApiKeyRequest { expiration: Some(after(expiration)?) };
            let key = ctx.client.create_api_key(&request).await?.api_key;
            Ok(Answer::new(&key, key.clone()))
        }
        ApiKeysCommand::Expire(Which { prefix, id }) => {
            let request = ExpireApiKeyRequest { prefix: prefix.unwrap_or_default(), id };
            let done = ctx.client.expire_api_key(&request).await?;
            Ok(Answer::new(&done, "The API key was expired."))
        }
        ApiKeysCommand::Delete(Which { prefix, id }) => {
            let done = match id {
                Some(id) => ctx.client.delete_api_key_by_id(id).await?,
                None => ctx.client.delete_api_key(&prefix.unwrap_or_default()).await?,
            };
            Ok(Answer::new(&done, "The API key was deleted."))
        }
    }
}

fn table(keys: &[ApiKey], now: Timestamp) -> Table {
    let mut table = Table::new(["ID", "Prefix", "Expiration", "Created", "Last seen"]);
    for k in keys {
        table.row([
            k.id.into(),
            (&k.prefix).into(),
            output::deadline(k.expiration, now),
            output::time(k.created_at).into(),
            output::time(k.last_seen).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_accepted_in_every_form_that_lists_show() {
        for text in [
            "abcdefghijkm",
            "hskey-api-abcdefghijkm",
            "hskey-api-abcdefghijkm-***",
            "abcdefghijkm-***",
            "hskey-api-abcdefghijkm-00ff",
        ] {
            assert_eq!(public_part(text).as_deref(), Ok("abcdefghijkm"), "{text}");
        }
    }
}
