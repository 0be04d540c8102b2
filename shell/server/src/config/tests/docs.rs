//! The files in `docs`, and one as found in guides on the web.

use super::*;

/// The `docs` folder of the repository.
fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn the_example_file_is_accepted_without_warnings() {
    let source = Source { config: Some(docs().join("config-example.yaml")), data_dir: None };
    let settings = load(&source, &Env::new()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings_of(&settings), Vec::<&str>::new());
}

#[test]
fn every_key_is_documented() {
    let text = std::fs::read_to_string(docs().join("configuration.md")).unwrap();
    let missing: Vec<_> =
        schema::KEYS.iter().map(|key| key.path).filter(|path| !text.contains(&format!("`{path}`"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let documented = rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`'));
    let unknown: Vec<_> = documented.filter(|name| schema::find(name).is_none()).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn a_file_from_a_guide_is_accepted() {
    let text = "\
server_url: http://localhost:8000
listen_addr: 0.0.0.0:8080
noise: {private_key_path: noise.key}
prefixes:
  v6: fd7a:115c:a1e0::/48
  v4: 100.64.0.0/10
database: {type: sqlite, sqlite: {path: db.sqlite}}
derp:
  server:
    enabled: true
    region_id: 999
    region_code: \"home\"
    region_name: \"Home DERP\"
    stun_listen_addr: \"0.0.0.0:3478\"
  urls:
    - https://controlplane.example.com/derpmap/default
  auto_update_enabled: true
  update_frequency: 24h
dns:
  magic_dns: true
  base_domain: headscale.net
  nameservers:
    global:
      - 1.1.1.1
      - 1.0.0.1
    restricted:
      corp.example.com:
        - 192.168.1.53
oidc:
disable_check_updates: false
logtail:
  enabled: false
acme_url: https://acme-v02.api.letsencrypt.org/directory
acme_email: \"\"
tls_letsencrypt_hostname: \"\"
tls_cert_path: \"\"
tls_key_path: \"\"
";
    let settings = good(text);
    assert_eq!(settings.warnings.len(), 1, "{:#?}", settings.warnings);
    assert!(settings.warnings[0].contains("the relay needs TLS"));
    assert_eq!(settings.dns.split["corp.example.com"], ["192.168.1.53"]);
}
