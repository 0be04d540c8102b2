//! `generate`

use clap::Subcommand;
use serde_json::json;

use super::Outcome;
use crate::output::{Answer, Failure};

/// What can be generated.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// A private key for the server's key files
    #[command(name = "private-key")]
    PrivateKey,
}

/// Generates something.
pub fn run(command: &GenerateCommand) -> Outcome {
    match command {
        GenerateCommand::PrivateKey => {
            let mut key = [0u8; 32];
            aws_lc_rs::rand::fill(&mut key)
                .map_err(|_| Failure::new("the system gives no random numbers"))?;
            let text = private_key(key);
            Ok(Answer::new(&json!({ "private_key": text }), text))
        }
    }
}

/// 32 random bytes as an X25519 key (RFC 7748, section 5) in the form of Tailscale's key files.
fn private_key(mut key: [u8; 32]) -> String {
    key[0] &= 0b1111_1000;
    key[31] = key[31] & 0b0111_1111 | 0b0100_0000;
    key.iter().fold("privkey:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_clamped() {
        assert_eq!(private_key([0xff; 32]), format!("privkey:f8{}7f", "ff".repeat(30)));
        assert_eq!(private_key([0; 32]), format!("privkey:{}40", "00".repeat(31)));
    }
}
