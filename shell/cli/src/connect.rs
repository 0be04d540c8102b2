//! Finds the server that a command talks to, from flags, environment and configuration.

use headsail_api::client::{ApiSecret, Client, Endpoint, Remote};
use headsail_server::config::{self, ClientConfig, Config, Source};

use crate::flags::Globals;
use crate::output::Failure;

/// Where the flags say that the configuration is.
pub fn source(globals: &Globals) -> Source {
    Source { config: globals.config.clone(), data_dir: globals.data_dir.clone() }
}

/// The whole configuration of the server that flags and environment lead to.
pub fn settings(globals: &Globals) -> Result<Config, Failure> {
    config::load(&source(globals), &config::process_env())
        .map_err(|e| Failure::of_configuration("the configuration is invalid", e.problems(), &[]))
}

/// A client of the server that flags, environment and configuration select.
pub fn client(globals: &Globals) -> Result<Client, Failure> {
    let settings =
        config::load_client(&source(globals), &config::process_env()).map_err(|e| e.to_string())?;
    Ok(Client::new(endpoint(globals, &settings)?, settings.cli.timeout))
}

/// The way to the server. A data directory on the command line means the server of that directory; else a remote
/// address comes before the local socket.
fn endpoint(globals: &Globals, settings: &ClientConfig) -> Result<Endpoint, Failure> {
    let Some(address) = settings.cli.address.as_deref().filter(|_| globals.data_dir.is_none()) else {
        return Ok(Endpoint::Socket(settings.unix_socket.clone()));
    };
    let key = settings.cli.api_key.clone().filter(|k| !k.is_empty()).ok_or_else(|| {
        Failure::new(format!(
            "the server at `{address}` requires an API key; create one there with `headsail apikeys create` and set \
             HEADSCALE_CLI_API_KEY"
        ))
    })?;
    Ok(Endpoint::Remote(Remote::new(address, ApiSecret::new(key), settings.cli.insecure)?))
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("could not start the async runtime: {e}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    /// The endpoint that `--data-dir` (if given) and this environment select.
    fn endpoint_for(data_dir: Option<&str>, env: &[(&str, &str)]) -> Result<String, String> {
        let globals = Globals { data_dir: data_dir.map(PathBuf::from), ..Globals::default() };
        let mut env: BTreeMap<String, String> =
            env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        env.insert("HEADSAIL_DATA_DIR".to_owned(), "/nonexistent/default".to_owned());
        let settings = config::load_client(&source(&globals), &env).map_err(|e| e.to_string())?;
        endpoint(&globals, &settings)
            .map(|e| e.to_string())
            .map_err(|f| f.render(crate::output::Format::Text))
    }

    #[test]
    fn the_socket_is_in_the_data_directory() {
        assert_eq!(endpoint_for(None, &[]).unwrap(), "`/nonexistent/default/headsail.sock`");
        assert_eq!(endpoint_for(Some("/nonexistent/x"), &[]).unwrap(), "`/nonexistent/x/headsail.sock`");
    }

    #[test]
    fn environment_variables_select_a_remote_server() {
        let key = ("HEADSCALE_CLI_API_KEY", "hskey-api-x");
        let address = ("HEADSCALE_CLI_ADDRESS", "hs.example.com");
        assert_eq!(endpoint_for(None, &[address, key]).unwrap(), "`https://hs.example.com`");
        assert_eq!(
            endpoint_for(Some("/nonexistent/x"), &[address, key]).unwrap(),
            "`/nonexistent/x/headsail.sock`"
        );
        assert!(endpoint_for(None, &[address]).unwrap_err().contains("HEADSCALE_CLI_API_KEY"));
        let ours = ("HEADSAIL_CLI_ADDRESS", "http://127.0.0.1:8080");
        assert_eq!(endpoint_for(None, &[address, ours, key]).unwrap(), "`http://127.0.0.1:8080`");
    }

    #[test]
    fn the_old_grpc_address_is_explained() {
        let e = endpoint_for(
            None,
            &[("HEADSCALE_CLI_ADDRESS", "hs.example.com:50443"), ("HEADSCALE_CLI_API_KEY", "k")],
        );
        assert!(e.as_ref().unwrap_err().contains("gRPC"), "{e:?}");
    }
}
