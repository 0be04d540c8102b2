//! Every key of the configuration, declared once: the reader, the environment, the hints for misspelt keys and the
//! test of the documentation all take it from here.

/// What shape a value must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any scalar.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A list of scalars; in the environment separated by spaces or commas, or JSON.
    List,
    /// A map or a list of maps; in the environment JSON.
    Nested,
}

/// What Headsail does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It is acted upon.
    Acted,
    /// Known, but without effect in this version: named in a warning where it is set to something.
    Later,
    /// Known and of no consequence: knobs of another program's parts, or sub-keys of one that is `Later`.
    Silent,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Dotted path in the file.
    pub(crate) path: &'static str,
    /// Shape of the value.
    pub(crate) kind: Kind,
    /// What becomes of it.
    pub(crate) usage: Use,
}

impl Key {
    /// The name of the key in the environment, without its prefix: `DNS_BASE_DOMAIN`.
    pub(crate) fn env_name(&self) -> String {
        env_name(self.path)
    }
}

/// A dotted path as the tail of an environment variable's name.
pub(crate) fn env_name(path: &str) -> String {
    path.replace('.', "_").to_ascii_uppercase()
}

const fn acted(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, usage: Use::Acted }
}

const fn later(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, usage: Use::Later }
}

const fn silent(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, usage: Use::Silent }
}

use Kind::{Bool, Int, List, Nested, Text};

/// All keys that a configuration may have.
pub(crate) const KEYS: &[Key] = &[
    acted("server_url", Text),
    acted("listen_addr", Text),
    acted("tls_listen_addr", Text),
    acted("metrics_listen_addr", Text),
    later("trusted_proxies", List),
    acted("unix_socket", Text),
    acted("unix_socket_permission", Text),
    acted("noise.private_key_path", Text),
    acted("tls_cert_path", Text),
    acted("tls_key_path", Text),
    acted("prefixes.v4", Text),
    acted("prefixes.v6", Text),
    acted("prefixes.allocation", Text),
    acted("database.type", Text),
    acted("database.sqlite.path", Text),
    acted("database.sqlite.write_ahead_log", Bool),
    acted("database.sqlite.wal_autocheckpoint", Int),
    acted("derp.server.enabled", Bool),
    acted("derp.server.region_id", Int),
    acted("derp.server.region_code", Text),
    acted("derp.server.region_name", Text),
    acted("derp.server.verify_clients", Bool),
    acted("derp.server.stun_listen_addr", Text),
    acted("derp.server.private_key_path", Text),
    acted("derp.server.automatically_add_embedded_derp_region", Bool),
    acted("derp.server.ipv4", Text),
    acted("derp.server.ipv6", Text),
    acted("derp.urls", List),
    acted("derp.paths", List),
    acted("derp.auto_update_enabled", Bool),
    acted("derp.update_frequency", Text),
    acted("dns.magic_dns", Bool),
    acted("dns.base_domain", Text),
    acted("dns.user_names", Bool),
    acted("dns.override_local_dns", Bool),
    acted("dns.nameservers.global", List),
    acted("dns.nameservers.split", Nested),
    acted("dns.nameservers.restricted", Nested),
    acted("dns.search_domains", List),
    acted("dns.extra_records", Nested),
    acted("dns.extra_records_path", Text),
    acted("node.expiry", Text),
    acted("node.ephemeral.inactivity_timeout", Text),
    later("node.routes.ha.probe_interval", Text),
    later("node.routes.ha.probe_timeout", Text),
    later("preauth_keys.revoked_retention", Text),
    acted("policy.mode", Text),
    acted("policy.path", Text),
    acted("policy.domains", List),
    acted("taildrop.enabled", Bool),
    acted("log.level", Text),
    acted("log.format", Text),
    acted("cli.address", Text),
    acted("cli.api_key", Text),
    acted("cli.timeout", Text),
    acted("cli.insecure", Bool),
    later("tls_letsencrypt_hostname", Text),
    silent("tls_letsencrypt_cache_dir", Text),
    silent("tls_letsencrypt_challenge_type", Text),
    silent("tls_letsencrypt_listen", Text),
    silent("acme_url", Text),
    silent("acme_email", Text),
    later("oidc.issuer", Text),
    silent("oidc.only_start_if_oidc_is_available", Bool),
    silent("oidc.client_id", Text),
    silent("oidc.client_secret", Text),
    silent("oidc.client_secret_path", Text),
    silent("oidc.use_expiry_from_token", Bool),
    silent("oidc.scope", List),
    silent("oidc.email_verified_required", Bool),
    silent("oidc.extra_params", Nested),
    silent("oidc.allowed_domains", List),
    silent("oidc.allowed_users", List),
    silent("oidc.allowed_groups", List),
    silent("oidc.pkce.enabled", Bool),
    silent("oidc.pkce.method", Text),
    later("logtail.enabled", Bool),
    acted("auto_update.enabled", Bool),
    later("database.debug", Bool),
    silent("database.postgres.host", Text),
    silent("database.postgres.port", Int),
    silent("database.postgres.name", Text),
    silent("database.postgres.user", Text),
    silent("database.postgres.pass", Text),
    silent("database.postgres.ssl", Text),
    silent("database.postgres.max_open_conns", Int),
    silent("database.postgres.max_idle_conns", Int),
    silent("database.postgres.conn_max_idle_time_secs", Int),
    silent("database.gorm.prepare_stmt", Bool),
    silent("database.gorm.parameterized_queries", Bool),
    silent("database.gorm.skip_err_record_not_found", Bool),
    silent("database.gorm.slow_threshold", Text),
    silent("disable_check_updates", Bool),
    acted("tuning.register_cache_expiration", Text),
    acted("tuning.register_cache_max_entries", Int),
    later("tuning.notifier_send_timeout", Text),
    later("tuning.batch_change_delay", Text),
    later("tuning.node_mapsession_buffered_chan_size", Int),
    later("tuning.batcher_workers", Int),
    later("tuning.node_store_batch_size", Int),
    later("tuning.node_store_batch_timeout", Text),
];

/// What a key that is gone does today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Stops the start.
    Fatal,
    /// Stops the start unless its successor is set too; then it only warns.
    FatalUnlessMoved,
    /// Warns and counts as its successor unless that is set.
    Honoured,
    /// Warns that it has no effect.
    Ignored,
}

/// A key of former versions.
#[derive(Debug)]
pub(crate) struct Removed {
    /// Dotted path in the file; as a whole subtree if it names a section.
    pub(crate) path: &'static str,
    /// What became of it.
    pub(crate) fate: Fate,
    /// The key that took its place.
    pub(crate) successor: Option<&'static str>,
    /// What to do, where a successor alone does not say it.
    pub(crate) advice: &'static str,
}

const fn moved(path: &'static str, successor: &'static str) -> Removed {
    Removed { path, fate: Fate::FatalUnlessMoved, successor: Some(successor), advice: "" }
}

const fn ignored(path: &'static str, advice: &'static str) -> Removed {
    Removed { path, fate: Fate::Ignored, successor: None, advice }
}

const fn fatal(path: &'static str, advice: &'static str) -> Removed {
    Removed { path, fate: Fate::Fatal, successor: None, advice }
}

const NO_USER_NAMES: &str =
    "remove it: names are `host.base_domain`; `host.user.base_domain` resolves, too (`dns.user_names`)";
const OLD_DATABASE: &str = "use the section `database`";

/// Keys of former versions of Headscale.
pub(crate) const REMOVED: &[Removed] = &[
    moved("acl_policy_path", "policy.path"),
    moved("dns_config.magic_dns", "dns.magic_dns"),
    moved("dns_config.base_domain", "dns.base_domain"),
    moved("dns_config.override_local_dns", "dns.override_local_dns"),
    moved("dns_config.nameservers", "dns.nameservers.global"),
    moved("dns_config.restricted_nameservers", "dns.nameservers.split"),
    moved("dns_config.domains", "dns.search_domains"),
    moved("dns_config.extra_records", "dns.extra_records"),
    fatal("dns.use_username_in_magic_dns", NO_USER_NAMES),
    fatal("dns_config.use_username_in_magic_dns", NO_USER_NAMES),
    fatal("oidc.strip_email_domain", "remove it: user names keep their domain"),
    fatal("oidc.map_legacy_users", "remove it: users are matched by their identity at the provider"),
    fatal("randomize_client_port", "set `randomizeClientPort` in the policy"),
    Removed { path: "oidc.expiry", fate: Fate::Fatal, successor: Some("node.expiry"), advice: "" },
    Removed {
        path: "ephemeral_node_inactivity_timeout",
        fate: Fate::Honoured,
        successor: Some("node.ephemeral.inactivity_timeout"),
        advice: "",
    },
    ignored("grpc_listen_addr", "remove it: the API is served over HTTP"),
    ignored("grpc_allow_insecure", "remove it: the API is served over HTTP"),
    ignored("private_key_path", "remove it: `noise.private_key_path` is the server's key"),
    ignored("ip_prefixes", "use `prefixes.v4` and `prefixes.v6`"),
    ignored("db_type", OLD_DATABASE),
    ignored("db_path", OLD_DATABASE),
    ignored("db_host", OLD_DATABASE),
    ignored("db_port", OLD_DATABASE),
    ignored("db_name", OLD_DATABASE),
    ignored("db_user", OLD_DATABASE),
    ignored("db_pass", OLD_DATABASE),
    ignored("db_ssl", OLD_DATABASE),
    ignored("node_update_check_interval", "remove it: changes are sent at once"),
    ignored("tls_client_auth_mode", "remove it: clients are known by their keys"),
    ignored("log_level", "use `log.level`"),
    ignored("derp_map_path", "use `derp.paths`"),
    ignored("derp.server.stun", "use `derp.server.stun_listen_addr`"),
];

/// The key of this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The removed key of this path.
pub(crate) fn find_removed(path: &str) -> Option<&'static Removed> {
    REMOVED.iter().find(|key| key.path == path)
}

/// Whether the path is a section: something below it is a key, or was one.
pub(crate) fn is_section(path: &str) -> bool {
    let below = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(|key| below(key.path)) || REMOVED.iter().any(|key| below(key.path))
}

/// The key or section that a misspelt path most likely meant.
pub(crate) fn suggestion(path: &str) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for key in KEYS {
        for (end, _) in key.path.match_indices('.').chain([(key.path.len(), "")]) {
            let candidate = &key.path[..end];
            if let Some(distance) = likeness(path, candidate)
                && best.is_none_or(|(least, _)| distance < least)
            {
                best = Some((distance, candidate));
            }
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

/// How far two paths are apart, if near enough to be meant: by letters under the same section (a third of them may
/// differ), or the same last word in another place.
fn likeness(path: &str, candidate: &str) -> Option<usize> {
    let split = |text: &str| {
        let at = text.rfind('.').map_or(0, |dot| dot + 1);
        (text[..at].to_owned(), text[at..].to_owned())
    };
    let ((parent, word), (candidate_parent, candidate_word)) = (split(path), split(candidate));
    let distance = strsim::damerau_levenshtein(&word, &candidate_word);
    let allowed = (word.len().max(candidate_word.len()) / 3).max(1);
    if parent == candidate_parent && distance <= allowed && word.len() > 1 {
        return Some(2 * distance);
    }
    // A common word such as `path` or `enabled` says nothing about where it belongs.
    const COMMON: &[&str] =
        &["enabled", "path", "type", "mode", "level", "format", "name", "server", "debug"];
    (distance == 0 && !COMMON.contains(&word.as_str())).then_some(3)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_key_is_declared_twice_and_no_two_share_a_variable() {
        let paths: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
        let names: BTreeSet<_> = KEYS.iter().map(Key::env_name).collect();
        assert_eq!(paths.len(), KEYS.len());
        assert_eq!(names.len(), KEYS.len());
        assert!(REMOVED.iter().all(|gone| find(gone.path).is_none()));
        assert!(REMOVED.iter().filter_map(|gone| gone.successor).all(|path| find(path).is_some()));
    }

    #[test]
    fn misspelt_keys_are_recognised() {
        for (wrong, right) in [
            ("server_ur", "server_url"),
            ("serverurl", "server_url"),
            ("dns.magicdns", "dns.magic_dns"),
            ("magic_dns", "dns.magic_dns"),
            ("base_domain", "dns.base_domain"),
            ("drep", "derp"),
            ("derp.server.verify_client", "derp.server.verify_clients"),
            ("dns.nameserver", "dns.nameservers"),
            ("derp.server.region_ids", "derp.server.region_id"),
        ] {
            assert_eq!(suggestion(wrong).as_deref(), Some(right), "{wrong}");
        }
        assert_eq!(suggestion("completely_else"), None);
        assert_eq!(suggestion("x"), None);
    }
}
