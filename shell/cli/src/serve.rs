//! `serve` and `configtest`: handing the flags to the server.

use crate::args::Globals;
use crate::commands::Outcome;
use crate::connect;
use crate::output::{self, Answer, Failure};
use headsail_server::config;

/// `serve`
pub fn serve(_globals: &Globals) -> Outcome {
    Err(Failure::new("the server is not part of this build yet"))
}

/// `configtest`
pub fn configtest(globals: &Globals) -> Outcome {
    let settings = config::load(&connect::source(globals), &config::process_env())
        .map_err(|e| Failure::new(e.to_string()))?;
    for warning in &settings.warnings {
        output::remark(&format!("warning: {warning}"));
    }
    Ok(Answer::new(&serde_json::json!({ "warnings": settings.warnings }), "The configuration is valid."))
}
