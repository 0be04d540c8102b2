//! Whole configurations, valid and invalid.

mod docs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::Raw;
use super::report::Report;
use super::tree::Tree;
use super::*;

/// A minimal configuration.
const MINIMAL: &str = "\
server_url: https://hs.example.com
noise: {private_key_path: noise.key}
database: {sqlite: {path: /srv/db.sqlite}}
prefixes: {v4: 100.64.0.0/10}
dns: {magic_dns: false, override_local_dns: false}
derp: {paths: [derp.yaml]}
";

fn environment(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read_with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let file = Path::new("/etc/hs/config.yaml");
    let mut report = Report::new(Some(Path::new("config.yaml")));
    let mut root = Tree::parse(text).unwrap();
    env::overlay(&mut root, &environment(env), &mut report);
    let raw = Raw::new(root, PathBuf::from("/etc/hs"), report);
    check::config(raw, &Origin { file: Some(file), data_dir: None, built_in: false })
}

fn good(text: &str) -> Config {
    read_with(text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// The least configuration with lines added, which replace what it says about the same section.
fn minimal_with(lines: &str) -> String {
    let section = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let replaced: Vec<String> = lines.lines().filter(|line| !line.starts_with(' ')).map(section).collect();
    let remaining = MINIMAL.lines().filter(|line| !replaced.contains(&section(line)));
    remaining.map(|line| format!("{line}\n")).collect::<String>() + lines
}

fn problems(lines: &str) -> Vec<String> {
    match read_with(&minimal_with(lines), &[]) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().to_vec(),
    }
}

/// The warnings, except the one about unsupported settings.
fn warnings_of(settings: &Config) -> Vec<&str> {
    settings.warnings.iter().map(String::as_str).filter(|line| !line.contains("not supported yet")).collect()
}

fn warnings(lines: &str) -> Vec<String> {
    warnings_of(&good(&minimal_with(lines))).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_minimal_configuration_has_the_defaults_of_headscale() {
    let settings = good(MINIMAL);
    assert_eq!(settings.warnings, Vec::<String>::new());
    assert_eq!(settings.server_url.text, "https://hs.example.com");
    assert_eq!((settings.server_url.host.as_str(), settings.server_url.port), ("hs.example.com", 443));
    assert_eq!(settings.listeners.http.map(|at| at.to_string()).as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(settings.listeners.tls, None);
    assert!(!settings.listeners.needs_tls_443 && !settings.listeners.ports_may_move);
    assert_eq!(settings.noise_private_key_path, Path::new("/etc/hs/noise.key"));
    assert_eq!(settings.data_dir, Path::new("/srv"));
    assert_eq!(settings.unix_socket, Path::new("/var/run/headscale/headscale.sock"));
    assert_eq!(settings.unix_socket_permission, 0o770);
    assert_eq!(settings.prefixes.allocation, Allocation::Sequential);
    assert_eq!(settings.derp.paths, [PathBuf::from("/etc/hs/derp.yaml")]);
    assert_eq!(settings.derp.update_every, None);
    assert_eq!(settings.lifetimes.node_expiry, None);
    assert_eq!(settings.lifetimes.ephemeral, Duration::from_secs(120));
    assert_eq!(settings.policy, Policy::File(None));
    assert_eq!(settings.log, Log { level: LogLevel::Info, json: false });
    assert!(settings.taildrop && settings.database.write_ahead_log);
}

const FULL: &str = r#"
server_url: http://192.168.1.5:8080/
listen_addr: "[::]:8080"
metrics_listen_addr: 127.0.0.1:9090
trusted_proxies: [10.0.0.1, 192.168.0.0/16]
noise:
  private_key_path: /var/lib/headscale/noise_private.key
prefixes:
  v4: 100.64.0.0/10
  v6: fd7a:115c:a1e0::/48
  allocation: random
derp:
  server:
    enabled: true
    region_id: 901
    region_code: home
    region_name: Home DERP
    verify_clients: false
    stun_listen_addr: 0.0.0.0:3478
    private_key_path: derp.key
    automatically_add_embedded_derp_region: true
    ipv4: 198.51.100.1
    ipv6: 2001:db8::1
  urls: [https://derp.example.com/map]
  auto_update_enabled: true
  update_frequency: 24h
node:
  expiry: 180d
  ephemeral: {inactivity_timeout: 30m}
database:
  type: sqlite3
  sqlite: {path: /var/lib/headscale/db.sqlite, write_ahead_log: no, wal_autocheckpoint: 0}
tls_listen_addr: ":443"
tls_cert_path: cert.pem
tls_key_path: key.pem
log: {level: warn, format: json}
policy: {mode: file, path: acl.hujson, domains: [Example.com]}
dns:
  base_domain: Mesh.Example.org.
  nameservers:
    global: [1.1.1.1, "https://dns.nextdns.io/abc"]
    restricted:
      corp.example.com: [192.168.1.53]
      both.example.com: [192.168.1.1]
    split:
      Both.example.com: [192.168.1.2]
  search_domains: [One.example]
  extra_records:
    - {name: Grafana.mesh.example.org, type: A, value: 100.64.0.3}
    - {name: six.mesh.example.org, value: "fd7a:115c:a1e0::3"}
unix_socket: /run/hs.sock
unix_socket_permission: 0770
taildrop: {enabled: false}
cli: {address: "https://hs.example.com", timeout: 10s, insecure: true}
"#;

#[test]
fn every_setting_is_read() {
    let settings = good(FULL);
    assert_eq!(warnings_of(&settings), Vec::<&str>::new());
    assert_eq!(settings.server_url.text, "http://192.168.1.5:8080");
    let shown = |addr: &Option<ListenAddr>| addr.as_ref().map(ListenAddr::to_string).unwrap_or_default();
    let listeners = &settings.listeners;
    assert_eq!(shown(&listeners.http), "[::]:8080");
    assert_eq!(shown(&listeners.tls), ":443");
    assert_eq!(shown(&listeners.metrics), "127.0.0.1:9090");
    let files = Certificate::Files { cert: "/etc/hs/cert.pem".into(), key: "/etc/hs/key.pem".into() };
    assert_eq!(settings.certificate, files);
    assert_eq!(settings.prefixes.allocation, Allocation::Random);
    let relay = settings.derp.server.unwrap();
    assert_eq!((relay.region_id, relay.region_code.as_str()), (901, "home"));
    assert_eq!(relay.private_key_path, Path::new("/etc/hs/derp.key"));
    assert_eq!(relay.ipv6, "2001:db8::1".parse().ok());
    assert!(!relay.verify_clients);
    assert_eq!(settings.derp.update_every, Some(Duration::from_secs(86_400)));
    assert_eq!(settings.lifetimes.node_expiry, Some(Duration::from_secs(180 * 86_400)));
    assert_eq!(settings.lifetimes.ephemeral, Duration::from_secs(1800));
    assert!(!settings.database.write_ahead_log);
    assert_eq!(settings.database.wal_autocheckpoint, 0);
    assert_eq!(settings.log, Log { level: LogLevel::Warn, json: true });
    assert_eq!(settings.policy, Policy::File(Some("/etc/hs/acl.hujson".into())));
    assert_eq!(settings.policy_domains, ["example.com"]);
    assert_eq!(settings.unix_socket_permission, 0o770);
    assert!(!settings.taildrop && settings.cli.insecure);
    let dns = settings.dns;
    assert_eq!(dns.base_domain, "mesh.example.org");
    assert_eq!(dns.global, ["1.1.1.1", "https://dns.nextdns.io/abc"]);
    assert_eq!(dns.split["corp.example.com"], ["192.168.1.53"]);
    assert_eq!(dns.split["both.example.com"], ["192.168.1.2"]);
    assert_eq!(dns.search_domains, ["one.example"]);
    let records: Vec<_> = dns.extra_records.iter().map(|r| (r.name.as_str(), r.kind.as_str())).collect();
    assert_eq!(records, [("grafana.mesh.example.org", "A"), ("six.mesh.example.org", "AAAA")]);
}

#[test]
fn variables_override_the_file_and_headsail_overrides_headscale() {
    let env = [
        ("HEADSCALE_SERVER_URL", "https://one.example.com"),
        ("HEADSAIL_SERVER_URL", "https://two.example.com"),
        ("HEADSCALE_DNS_MAGIC_DNS", "true"),
        ("HEADSCALE_DNS_BASE_DOMAIN", "mesh.example.org"),
        ("HEADSCALE_DNS_NAMESERVERS_GLOBAL", "1.1.1.1 9.9.9.9"),
        ("HEADSCALE_DNS_SEARCH_DOMAINS", "a.example,b.example"),
        ("HEADSCALE_DERP_PATHS", r#"["/one.yaml", "/two.yaml"]"#),
        ("HEADSCALE_DNS_NAMESERVERS_SPLIT", r#"{"corp.example.com": ["10.0.0.53"]}"#),
        ("HEADSCALE_DNS_EXTRA_RECORDS", r#"[{"name":"x.example","type":"A","value":"100.64.0.9"}]"#),
        ("HEADSCALE_LOG_LEVEL", ""),
        ("HEADSCALE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ];
    let settings = read_with(MINIMAL, &env).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.server_url.host, "two.example.com");
    assert_eq!(settings.dns.global, ["1.1.1.1", "9.9.9.9"]);
    assert_eq!(settings.dns.search_domains, ["a.example", "b.example"]);
    assert_eq!(settings.derp.paths, [PathBuf::from("/one.yaml"), PathBuf::from("/two.yaml")]);
    assert_eq!(settings.dns.split["corp.example.com"], ["10.0.0.53"]);
    assert_eq!(settings.dns.extra_records[0].name, "x.example");
    assert_eq!(settings.log.level, LogLevel::Info);
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn problems_in_variables_name_the_variable() {
    let env = [
        ("HEADSCALE_OIDC_EXPIRY", "180d"),
        ("HEADSAIL_SERVER_URL", "ftp://x"),
        ("HEADSCALE_DNS_NAMESERVERS_SPLIT", "{"),
    ];
    let Err(error) = read_with(MINIMAL, &env) else { panic!("accepted") };
    let lines = error.problems();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[0].starts_with("HEADSCALE_DNS_NAMESERVERS_SPLIT: `{` is not valid JSON: "), "{error}");
    assert_eq!(lines[1], "HEADSCALE_OIDC_EXPIRY: `oidc.expiry` was removed: use `node.expiry` instead");
    assert_eq!(
        lines[2],
        "HEADSAIL_SERVER_URL: `ftp://x` is not a valid `server_url`: it must start with `http://` or `https://`"
    );
    let settings = read_with(MINIMAL, &[("HEADSCALE_DNS_BASEDOMAIN", "x")]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        settings.warnings,
        [
            "HEADSCALE_DNS_BASEDOMAIN: unknown variable, which has no effect; did you mean `HEADSCALE_DNS_BASE_DOMAIN`?"
        ]
    );
}

#[test]
fn all_problems_are_listed_at_once() {
    let Err(error) =
        read_with("server_url: ftp://x\nlisten_addr: nonsense\nunix_socket_permission: rwx\n", &[])
    else {
        panic!("accepted")
    };
    let expected = "\
the configuration is invalid, 8 problems:
  config.yaml:1:13: `ftp://x` is not a valid `server_url`: it must start with `http://` or `https://`
  config.yaml: `database.sqlite.path` is missing: set it to a file such as `/var/lib/headscale/db.sqlite`
  config.yaml: `noise.private_key_path` is missing: set it to a file such as `/var/lib/headscale/noise_private.key`
  config.yaml:2:14: `nonsense` is not a valid `listen_addr`: the port is missing; write it as `0.0.0.0:8080`, `[::1]:8080` or `:8080`
  config.yaml: `prefixes.v4` and `prefixes.v6` are missing: set at least one of them, usually to `100.64.0.0/10` and `fd7a:115c:a1e0::/48`
  config.yaml: `dns.base_domain` is missing: node names are `name.base_domain`; set a domain of your own, such as `mesh.example.com`, or set `dns.magic_dns: false`
  config.yaml: `dns.override_local_dns` is true (the default), but `dns.nameservers.global` is empty: list resolvers there, such as `1.1.1.1`, or set `dns.override_local_dns: false`
  config.yaml:3:25: `unix_socket_permission` must be an octal file mode, such as `0770`, not `rwx`";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn unknown_and_unsupported_keys_are_warnings() {
    let text = format!(
        "{MINIMAL}{}",
        "serverurl: x\noidc: {issuer: 'https://id.example.com', scope: [a]}\nlogtail: {enabled: false}\ntuning: {batcher_workers: 3}\nquux: 1\n"
    );
    assert_eq!(
        good(&text).warnings,
        [
            "config.yaml:7:1: unknown setting `serverurl` has no effect; did you mean `server_url`?",
            "config.yaml:11:1: unknown setting `quux` has no effect",
            "config.yaml: these settings are not supported yet and have no effect: `oidc.issuer`, `tuning.batcher_workers`",
        ]
    );
}

#[test]
fn removed_keys_are_problems_or_warnings() {
    assert_eq!(
        problems("acl_policy_path: a\nrandomize_client_port: true\ndns_config: {magic_dns: true}\n"),
        [
            "config.yaml:7:1: `acl_policy_path` was removed: use `policy.path` instead",
            "config.yaml:8:1: `randomize_client_port` was removed: set `randomizeClientPort` in the policy instead",
        ]
    );
    let moved = "dns_config: {base_domain: x.y}\n";
    assert_eq!(
        problems(moved),
        ["config.yaml:7:14: `dns_config.base_domain` was removed: use `dns.base_domain` instead"]
    );
    assert_eq!(
        warnings(
            "acl_policy_path: a\npolicy: {path: b}\nip_prefixes: [100.64.0.0/10]\nderp: {paths: [x], server: {stun: {enabled: true}}}\n"
        ),
        [
            "config.yaml:6:1: `acl_policy_path` was removed and is ignored because `policy.path` is set: delete it",
            "config.yaml:8:1: `ip_prefixes` was removed and has no effect: use `prefixes.v4` and `prefixes.v6` instead",
            "config.yaml:9:29: `derp.server.stun` was removed and has no effect: use `derp.server.stun_listen_addr` instead",
        ]
    );
    let settings = good(&minimal_with("ephemeral_node_inactivity_timeout: 40m\n"));
    assert_eq!(settings.lifetimes.ephemeral, Duration::from_secs(2400));
    assert_eq!(
        settings.warnings,
        [
            "config.yaml:7:1: `ephemeral_node_inactivity_timeout` is deprecated: use `node.ephemeral.inactivity_timeout` instead"
        ]
    );
}

#[test]
fn invalid_values_are_problems() {
    let only = |lines: &str| {
        let found = problems(lines);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    assert_eq!(
        only("taildrop: {enabled: maybe}\n"),
        "config.yaml:7:21: `taildrop.enabled` must be `true` or `false`, not `maybe`"
    );
    assert_eq!(
        only("taildrop: yes\n"),
        "config.yaml:7:1: `taildrop` is a section: indent its settings below it"
    );
    assert_eq!(only("policy: {path: [a]}\n"), "config.yaml:7:16: `policy.path` must be a single value");
    assert_eq!(only("trusted_proxies: {a: b}\n"), "config.yaml:7:18: `trusted_proxies` must be a list");
    assert_eq!(
        only("trusted_proxies: [0.0.0.0/0]\n"),
        "config.yaml:7:19: `0.0.0.0/0` in `trusted_proxies` would trust every client: list the addresses of your proxies"
    );
    assert_eq!(
        only("node: {ephemeral: {inactivity_timeout: 10ms}}\n"),
        "config.yaml:7:40: `node.ephemeral.inactivity_timeout` must be at least `1s`, such as `120s`, not `10ms`"
    );
    assert!(only("node: {ephemeral: {inactivity_timeout: 30}}\n").contains("the unit is missing"));
    assert!(only("policy: {mode: sql}\n").ends_with("must be `file` or `database`, not `sql`"));
    assert!(only("prefixes: {v4: 100.64.0.0}\n").ends_with("write it as `100.64.0.0/10`"));
    assert!(only("prefixes: {v6: 'fd7a:115c:a1e0::/48', allocation: any}\n").ends_with("not `any`"));
    assert!(
        only("tls_cert_path: a\n")
            .ends_with("`tls_cert_path` is set without `tls_key_path`: set both or neither")
    );
    assert!(
        only("node: {routes: {ha: {probe_timeout: 10s}}}\n")
            .contains("shorter than `node.routes.ha.probe_interval`")
    );
}

#[test]
fn only_sqlite_is_a_valid_database_type() {
    assert_eq!(
        problems("database: {type: postgres, postgres: {host: x}, sqlite: {path: y}}\n"),
        [
            "config.yaml:6:18: `database.type: postgres` is not supported yet: use `sqlite` and set `database.sqlite.path`"
        ]
    );
    assert!(
        problems("database: {type: oracle, sqlite: {path: y}}\n")[0]
            .contains("`database.type` must be `sqlite`, not `oracle`")
    );
}

#[test]
fn the_base_domain_must_not_contain_the_server() {
    let with =
        |domain: &str| problems(&format!("dns: {{base_domain: {domain}, override_local_dns: false}}\n"));
    assert!(with("hs.example.com")[0].contains("is the host of `server_url`"));
    assert_eq!(
        with("example.com"),
        [
            "config.yaml:6:20: the host of `server_url` (`hs.example.com`) is below `dns.base_domain` (`example.com`), where clients could no longer resolve it: use another domain, such as `mesh.example.com`"
        ]
    );
    assert_eq!(with("mesh.example.com"), Vec::<String>::new());
    assert_eq!(with("ample.com"), Vec::<String>::new());
    assert_eq!(with("a.hs.example.com"), Vec::<String>::new());
    assert!(with("'-bad.example'")[0].contains("is not a valid `dns.base_domain`"));
}

#[test]
fn the_settings_of_the_embedded_relay_are_checked() {
    assert_eq!(
        problems("derp: {server: {enabled: true, private_key_path: noise.key, region_id: 0, ipv4: '::1'}}\n"),
        [
            "config.yaml: `derp.server.stun_listen_addr` is missing: the embedded relay needs it; set it to `0.0.0.0:3478`",
            "config.yaml:6:50: `derp.server.private_key_path` and `noise.private_key_path` are the same file: give the relay a key file of its own",
            "config.yaml:6:72: `derp.server.region_id` must be an integer from 1 to 65535, not `0`",
            "config.yaml:6:81: `::1` is not a valid `derp.server.ipv4`: it is not an IPv4 address",
        ]
    );
    assert!(problems("derp: {urls: ['ftp://x']}\n")[0].contains("`ftp://x` in `derp.urls` is not a URL"));
    assert!(
        problems("derp: {paths: [x], auto_update_enabled: true, update_frequency: 0}\n")[0]
            .contains("at least `1s`")
    );
    assert!(warnings("derp: {}\n")[0].contains("no relay is configured"));
    let settings = good(&minimal_with("derp: {server: {enabled: true, stun_listen_addr: ':3478'}}\n"));
    assert_eq!(settings.derp.server.unwrap().private_key_path, Path::new("/etc/hs/derp_server_private.key"));
}

#[test]
fn without_certificates_the_relay_gets_tls_on_the_plain_listener() {
    let lines = "server_url: http://10.0.0.1:8080\nlisten_addr: 0.0.0.0:8080\nderp: {server: {enabled: true, stun_listen_addr: ':3478'}}\n";
    let settings = good(&minimal_with(lines));
    assert_eq!((settings.listeners.tls, settings.listeners.http_offers_tls), (None, true));
    let (cert, key) = ("/srv/tls_selfsigned.crt".into(), "/srv/tls_selfsigned.key".into());
    assert_eq!(settings.certificate, Certificate::SelfSigned { cert, key });
    assert!(settings.warnings[0].contains("`0.0.0.0:8080` accepts plain HTTP and also TLS"));
    // Behind a proxy that terminates TLS, nothing is added.
    let proxied = good(&minimal_with("derp: {server: {enabled: true, stun_listen_addr: ':3478'}}\n"));
    assert!(!proxied.listeners.http_offers_tls);
    assert_eq!((proxied.listeners.tls, proxied.warnings), (None, Vec::new()));
}

#[test]
fn certificate_files_make_the_listener_serve_tls() {
    let files = "tls_cert_path: a\ntls_key_path: b\n";
    let settings = good(&minimal_with(&format!("{files}listen_addr: :443\n")));
    assert_eq!(settings.listeners.http, None);
    assert_eq!(settings.listeners.tls.map(|at| at.port), Some(443));
    let settings = good(&minimal_with(&format!("{files}listen_addr: :80\ntls_listen_addr: :443\n")));
    assert_eq!(settings.listeners.http.map(|at| at.port), Some(80));
    assert!(
        warnings(&format!("{files}server_url: http://10.0.0.1\n"))[0].contains("`server_url` is an http URL")
    );
    assert!(problems("listen_addr: :443\ntls_listen_addr: :443\n")[0].contains("are the same"));
}

#[test]
fn plain_http_with_a_name_or_public_address_needs_port_443() {
    let needs = |lines: &str| {
        let settings = good(&minimal_with(lines));
        let warned = settings.warnings.iter().any(|line| line.contains("only through TLS on port 443"));
        assert_eq!(warned, settings.listeners.needs_tls_443, "{lines}");
        warned
    };
    for (url, expected) in [
        ("http://hs.example.com:8080", true),
        ("http://203.0.113.7", true),
        ("http://100.64.0.1", true),
        ("http://[2001:db8::1]:8080", true),
        ("http://192.168.1.1:8080", false),
        ("http://[fd00::1]:8080", false),
        ("http://localhost:8080", false),
        ("https://hs.example.com", false),
    ] {
        assert_eq!(needs(&format!("server_url: {url}\n")), expected, "{url}");
    }
    assert!(!needs("server_url: http://hs.example.com\ntls_listen_addr: :443\n"));
}

#[test]
fn values_that_clients_would_ignore_are_dropped_with_a_warning() {
    let lines = "dns: {magic_dns: false, nameservers: {global: [1.1.1.1, 'tls://x', '9.9.9.9:5353']}, extra_records: [{name: a.b, type: CNAME, value: hello}, {name: a.b, type: A, value: x}, {name: a.b, type: AAAA, value: 1.2.3.4}]}\nnode: {expiry: soon}\nlog: {level: loud}\nprefixes: {v4: 10.0.0.0/8}\n";
    let settings = good(&minimal_with(lines));
    assert_eq!(settings.dns.global, ["1.1.1.1", "9.9.9.9:5353"]);
    assert_eq!(settings.dns.extra_records, []);
    assert_eq!(settings.lifetimes.node_expiry, None);
    let expected = [
        "`10.0.0.0/8` is outside `100.64.0.0/10`",
        "clients do not understand the resolver `tls://x`",
        "has the type `CNAME`",
        "the value `x`, which is not an IP address",
        "has the type `AAAA`, but `1.2.3.4` is an IPv4 address",
        "`node.expiry`: `soon` is not a duration",
        "`loud` is not a log level",
    ];
    assert_eq!(settings.warnings.len(), expected.len(), "{:#?}", settings.warnings);
    for (line, part) in settings.warnings.iter().zip(expected) {
        assert!(line.contains(part), "{line} should contain {part}");
    }
}

#[test]
fn unix_socket_permissions_are_octal_in_every_notation() {
    for (text, bits) in
        [("0770", 0o770), ("\"0o770\"", 0o770), ("0o770", 0o770), ("770", 0o770), ("'0700'", 0o700)]
    {
        assert_eq!(
            good(&minimal_with(&format!("unix_socket_permission: {text}\n"))).unix_socket_permission,
            bits
        );
    }
    assert!(!problems("unix_socket_permission: 0o1777\n").is_empty());
    assert!(!problems("unix_socket_permission: 888\n").is_empty());
}

#[test]
fn server_urls_have_a_scheme_a_host_and_optionally_a_port() {
    for bad in [
        "hs.example.com",
        "https://",
        "https://a b",
        "https://user@hs.example.com",
        "https://h?x=1",
        "http://h:0",
    ] {
        assert_eq!(problems(&format!("server_url: '{bad}'\n")).len(), 1, "{bad}");
    }
    let url = |text: &str| good(&minimal_with(&format!("server_url: '{text}'\n"))).server_url;
    assert_eq!(url("https://HS.Example.com:8443/").host, "hs.example.com");
    assert_eq!(url("http://[FD00::1]").host, "fd00::1");
    assert_eq!(url("http://10.0.0.1").port, 80);
}

#[test]
fn the_built_in_defaults_are_complete() {
    let env = environment(&[("HEADSAIL_DNS_BASE_DOMAIN", "other.internal")]);
    let settings = Config::embedded(Path::new("/srv/hs"), &env).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.warnings, Vec::<String>::new());
    assert_eq!(settings.file, None);
    assert!(settings.listeners.ports_may_move && !settings.listeners.needs_tls_443);
    assert_eq!(settings.listeners.http.map(|at| at.to_string()).as_deref(), Some(":8080"));
    assert_eq!(settings.listeners.tls.map(|at| at.to_string()).as_deref(), Some(":8443"));
    assert!(is_private(settings.server_url.ip().unwrap()));
    assert_eq!(settings.database.path, Path::new("/srv/hs/headsail.db"));
    assert_eq!(settings.unix_socket, Path::new("/srv/hs/headsail.sock"));
    assert_eq!(settings.dns.base_domain, "other.internal");
    assert!(settings.dns.magic_dns && !settings.dns.override_local_dns);
    let relay = settings.derp.server.unwrap();
    assert_eq!((relay.region_id, relay.stun_listen.port), (999, 3478));
    assert_eq!(relay.private_key_path, Path::new("/srv/hs/derp_server_private.key"));
}

#[test]
fn files_are_found_and_read_errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.yaml");
    let source = Source { config: Some(missing.clone()), data_dir: None };
    let Err(error) = load(&source, &Env::new()) else { panic!("accepted") };
    let start =
        format!("the configuration is invalid: cannot read the configuration file `{}`: ", missing.display());
    assert!(error.to_string().starts_with(&start), "{error}");

    let file = dir.path().join("config.yaml");
    std::fs::write(&file, "a: 1\n b: 2\n").unwrap();
    let named = environment(&[("HEADSCALE_CONFIG", file.to_str().unwrap())]);
    let Err(error) = load(&Source::default(), &named) else { panic!("accepted") };
    assert!(
        error.problems()[0].starts_with(&format!("{}:2:3: the file is not valid YAML: ", file.display())),
        "{error}"
    );

    std::fs::write(&file, MINIMAL).unwrap();
    let settings = load(&Source::default(), &named).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.noise_private_key_path, dir.path().join("noise.key"));
    // A data directory alone selects the built-in defaults; together with a file it is only for generated files.
    let both = Source { config: Some(file.clone()), data_dir: Some("/srv/other".into()) };
    assert_eq!(load(&both, &Env::new()).unwrap_or_else(|e| panic!("{e}")).data_dir, Path::new("/srv/other"));
    let home = environment(&[("HOME", dir.path().to_str().unwrap())]);
    let source = Source { config: None, data_dir: Some("/srv/other".into()) };
    assert_eq!(load(&source, &home).unwrap_or_else(|e| panic!("{e}")).file, None);
    std::fs::create_dir(dir.path().join(".headscale")).unwrap();
    std::fs::write(dir.path().join(".headscale/config.json"), Tree::parse(MINIMAL).map(|_| MINIMAL).unwrap())
        .unwrap();
    let found = load(&Source::default(), &home).unwrap_or_else(|e| panic!("{e}")).file;
    assert_eq!(found, Some(dir.path().join(".headscale/config.json")));
}

#[test]
fn the_command_line_ignores_problems_in_other_settings() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, "server_url: nonsense\nunix_socket: s.sock\ncli: {address: a:1, api_key: k}\n")
        .unwrap();
    let source = Source { config: Some(file), data_dir: None };
    let client = load_client(&source, &Env::new()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(client.unix_socket, dir.path().join("s.sock"));
    assert_eq!(client.cli.address.as_deref(), Some("a:1"));
    assert_eq!(client.cli.timeout, Duration::from_secs(5));
    let embedded = Source { config: None, data_dir: Some("/srv/hs".into()) };
    let client = load_client(&embedded, &Env::new()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(client.unix_socket, Path::new("/srv/hs/headsail.sock"));
}

#[test]
fn a_variable_of_the_wrong_shape_is_a_single_problem() {
    for (name, value) in [
        ("HEADSCALE_DNS_NAMESERVERS_SPLIT", "x"),
        ("HEADSCALE_DNS_NAMESERVERS_SPLIT", "[x]"),
        ("HEADSCALE_DNS_EXTRA_RECORDS", "junk"),
        ("HEADSCALE_DNS_EXTRA_RECORDS", "{a: b}"),
        ("HEADSCALE_DNS_EXTRA_RECORDS", "{"),
    ] {
        let env = Env::from([(name.to_owned(), value.to_owned())]);
        let error = Config::embedded(Path::new("/nonexistent"), &env).err().unwrap();
        assert_eq!(error.problems().len(), 1, "{error}");
        assert!(error.problems()[0].starts_with(name), "{error}");
    }
}
