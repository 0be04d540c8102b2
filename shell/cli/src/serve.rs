//! `serve`, `configtest` and `backup`: the commands that use the server's files directly.

use std::path::Path;

use headsail_store::sqlite;
use serde_json::json;

use crate::connect;
use crate::flags::Globals;
use crate::output::Outcome;
use crate::output::{self, Answer, Failure, Format};

pub fn serve(globals: &Globals) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(format!("could not start the runtime's threads: {e}")))?;
    match runtime.block_on(headsail_server::serve(connect::source(globals))) {
        Ok(()) => Ok(Answer::silent()),
        Err(ended) if ended.logged => Err(Failure::logged()),
        Err(ended) => Err(Failure::new(ended.why)),
    }
}

pub fn configtest(globals: &Globals) -> Outcome {
    let settings = connect::settings(globals)?;
    let findings = headsail_server::start::rehearse::rehearse(&settings);
    if !findings.is_empty() {
        return Err(Failure::of_configuration("the server would not start", &findings, &settings.warnings));
    }
    if globals.output == Format::Text {
        for warning in &settings.warnings {
            output::remark(&format!("warning: {warning}"));
        }
    }
    Ok(Answer::new(&json!({ "warnings": settings.warnings }), "The configuration is valid."))
}

pub fn backup(file: &Path, globals: &Globals) -> Outcome {
    let database = connect::settings(globals)?.database.path;
    if !database.exists() {
        return Err(Failure::new(format!(
            "there is no database at `{}` to back up; select the server with --config or --data-dir",
            database.display()
        )));
    }
    sqlite::backup(&database, file).map_err(|e| Failure::new(e.to_string()))?;
    Ok(Answer::new(
        &json!({ "backup": file, "database": database }),
        format!("The database was backed up to `{}`.", file.display()),
    ))
}
