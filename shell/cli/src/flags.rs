//! Flags that every command takes, and how flags are read.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::output::Format;

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// Configuration file [env: HEADSAIL_CONFIG, HEADSCALE_CONFIG]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of a server that runs without a configuration file [env: HEADSAIL_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Output for programs: `json`, `json-line` or `yaml`
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    pub output: Format,
    /// Ask nothing
    #[arg(
        long, global = true, action = ArgAction::Set, value_parser = go_bool, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        hide_default_value = true, hide_possible_values = true
    )]
    pub force: bool,
}

/// Reads a flag's value as Go does, for `--force=true` and the like.
pub fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}
