//! Any text as a configuration file, of Headscale or of this server: it is refused with a reason, or gives settings.
#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use headsail_server::config::{Source, load, load_client};
use libfuzzer_sys::fuzz_target;

/// One file for each process: it is written anew for each input.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("headsail-fuzz-config-{}.yaml", std::process::id())));

fuzz_target!(|text: &[u8]| {
    if std::fs::write(&*FILE, text).is_err() {
        return;
    }
    let source = Source { config: Some(FILE.clone()), data_dir: None };
    if let Err(error) = load(&source, &BTreeMap::new()) {
        assert!(!error.to_string().is_empty(), "a refusal without a reason");
    }
    let _ = load_client(&source, &BTreeMap::new());
});
