//! `generate`

use clap::Subcommand;
use serde_json::json;

use super::Outcome;
use crate::output::{Answer, Failure};

#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// Generate a private key for a key file of the server
    #[command(name = "private-key")]
    PrivateKey,
}

pub fn run(command: &GenerateCommand) -> Outcome {
    match command {
        GenerateCommand::PrivateKey => {
            let mut key = [0u8; 32];
            aws_lc_rs::rand::fill(&mut key)
                .map_err(|_| Failure::new("the system's random number generator failed"))?;
            let text = private_key(key);
            Ok(Answer::new(&json!({ "private_key": text }), text))
        }
    }
}

/// Formats 32 random bytes as an X25519 private key (clamped as in RFC 7748, section 5), the way Tailscale writes key files.
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
