//! `serve` and `configtest`: handing the flags to the server.

use headsail_server::ServeOptions;

use crate::connect;
use crate::flags::Globals;
use crate::output::Outcome;
use crate::output::{self, Answer, Failure, Format};

/// `serve`
pub fn serve(globals: &Globals) -> Outcome {
    let options = ServeOptions { config: globals.config.clone(), data_dir: globals.data_dir.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(format!("the system gives no threads: {e}")))?;
    runtime.block_on(headsail_server::serve(options)).map_err(|e| Failure::new(e.to_string()))?;
    Ok(Answer::silent())
}

/// `configtest`
pub fn configtest(globals: &Globals) -> Outcome {
    let settings = connect::settings(globals)?;
    let faults = headsail_server::rehearse::rehearse(&settings);
    if !faults.is_empty() {
        return Err(Failure::of_configuration("no server would start", &faults, &settings.warnings));
    }
    if globals.output == Format::Text {
        for warning in &settings.warnings {
            output::remark(&format!("warning: {warning}"));
        }
    }
    Ok(Answer::new(&serde_json::json!({ "warnings": settings.warnings }), "The configuration is valid."))
}
