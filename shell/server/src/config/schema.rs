//! Every key of the configuration, declared once: parsing, environment variables, "did you mean" hints and the
//! documentation test all use this table.

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any scalar.
    Text,
    Bool,
    Int,
    /// A list of scalars; in an environment variable separated by whitespace or commas, or as JSON.
    List,
    /// A map or a list of maps; in an environment variable as JSON.
    Nested,
}

/// Whether a key has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Supported,
    /// Has no effect in this version; setting it is a warning.
    Later,
    /// Has no effect and is accepted silently: it tunes a component that we do not have, or belongs to a key that is
    /// `Later`.
    Silent,
}

#[derive(Debug)]
pub(crate) struct Key {
    /// Dotted path in the file, such as `dns.base_domain`.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    pub(crate) usage: Use,
}

impl Key {
    /// The name of its environment variable without the prefix: `DNS_BASE_DOMAIN`.
    pub(crate) fn env_name(&self) -> String {
        env_name(self.path)
    }
}

/// The name of the environment variable for a dotted path, without the prefix.
pub(crate) fn env_name(path: &str) -> String {
    path.replace('.', "_").to_ascii_uppercase()
}

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, usage: Use::Supported }
}

const fn later(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, usage: Use::Later }
}

const fn silent(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, usage: Use::Silent }
}

use Kind::{Bool, Int, List, Nested, Text};

pub(crate) const KEYS: &[Key] = &[
    key("server_url", Text),
    key("listen_addr", Text),
    key("tls_listen_addr", Text),
    key("metrics_listen_addr", Text),
    later("trusted_proxies", List),
    key("unix_socket", Text),
    key("unix_socket_permission", Text),
    key("noise.private_key_path", Text),
    key("tls_cert_path", Text),
    key("tls_key_path", Text),
    key("prefixes.v4", Text),
    key("prefixes.v6", Text),
    key("prefixes.allocation", Text),
    key("database.type", Text),
    key("database.sqlite.path", Text),
    key("database.sqlite.write_ahead_log", Bool),
    key("database.sqlite.wal_autocheckpoint", Int),
    key("derp.server.enabled", Bool),
    key("derp.server.region_id", Int),
    key("derp.server.region_code", Text),
    key("derp.server.region_name", Text),
    key("derp.server.verify_clients", Bool),
    key("derp.server.stun_listen_addr", Text),
    key("derp.server.private_key_path", Text),
    key("derp.server.automatically_add_embedded_derp_region", Bool),
    key("derp.server.ipv4", Text),
    key("derp.server.ipv6", Text),
    key("derp.urls", List),
    key("derp.paths", List),
    key("derp.auto_update_enabled", Bool),
    key("derp.update_frequency", Text),
    key("dns.magic_dns", Bool),
    key("dns.base_domain", Text),
    key("dns.user_names", Bool),
    key("dns.override_local_dns", Bool),
    key("dns.nameservers.global", List),
    key("dns.nameservers.split", Nested),
    key("dns.nameservers.restricted", Nested),
    key("dns.search_domains", List),
    key("dns.extra_records", Nested),
    key("dns.extra_records_path", Text),
    key("node.expiry", Text),
    key("node.ephemeral.inactivity_timeout", Text),
    later("node.routes.ha.probe_interval", Text),
    later("node.routes.ha.probe_timeout", Text),
    later("preauth_keys.revoked_retention", Text),
    key("policy.mode", Text),
    key("policy.path", Text),
    key("policy.domains", List),
    key("taildrop.enabled", Bool),
    key("log.level", Text),
    key("log.format", Text),
    key("cli.address", Text),
    key("cli.api_key", Text),
    key("cli.timeout", Text),
    key("cli.insecure", Bool),
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
    key("auto_update.enabled", Bool),
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
    key("tuning.register_cache_expiration", Text),
    key("tuning.register_cache_max_entries", Int),
    later("tuning.notifier_send_timeout", Text),
    later("tuning.batch_change_delay", Text),
    later("tuning.node_mapsession_buffered_chan_size", Int),
    later("tuning.batcher_workers", Int),
    later("tuning.node_store_batch_size", Int),
    later("tuning.node_store_batch_timeout", Text),
];

/// What happens if a removed key is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Prevents startup.
    Fatal,
    /// Prevents startup, unless its successor is set as well: then a warning.
    FatalUnlessMoved,
    /// A warning; the value is used for its successor unless that is set.
    Honoured,
    /// A warning that it has no effect.
    Ignored,
}

/// A key of earlier versions of Headscale.
#[derive(Debug)]
pub(crate) struct Removed {
    /// Dotted path in the file; that of a section stands for everything in it.
    pub(crate) path: &'static str,
    pub(crate) fate: Fate,
    /// The key that replaces it.
    pub(crate) successor: Option<&'static str>,
    /// What to do, if there is no successor.
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

const NO_USER_NAMES: &str = "delete it; node names are `host.base_domain`, and `host.user.base_domain` can resolve as well (see `dns.user_names`)";
const OLD_DATABASE: &str = "use the section `database` instead";

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
    fatal("oidc.strip_email_domain", "delete it; user names keep their domain"),
    fatal("oidc.map_legacy_users", "delete it; users are matched by their identity at the provider"),
    fatal("randomize_client_port", "set `randomizeClientPort` in the policy instead"),
    Removed { path: "oidc.expiry", fate: Fate::Fatal, successor: Some("node.expiry"), advice: "" },
    Removed {
        path: "ephemeral_node_inactivity_timeout",
        fate: Fate::Honoured,
        successor: Some("node.ephemeral.inactivity_timeout"),
        advice: "",
    },
    ignored("grpc_listen_addr", "delete it; the API is served over HTTP"),
    ignored("grpc_allow_insecure", "delete it; the API is served over HTTP"),
    ignored("private_key_path", "delete it; the key of the server is `noise.private_key_path`"),
    ignored("ip_prefixes", "use `prefixes.v4` and `prefixes.v6` instead"),
    ignored("db_type", OLD_DATABASE),
    ignored("db_path", OLD_DATABASE),
    ignored("db_host", OLD_DATABASE),
    ignored("db_port", OLD_DATABASE),
    ignored("db_name", OLD_DATABASE),
    ignored("db_user", OLD_DATABASE),
    ignored("db_pass", OLD_DATABASE),
    ignored("db_ssl", OLD_DATABASE),
    ignored("node_update_check_interval", "delete it; changes are sent immediately"),
    ignored("tls_client_auth_mode", "delete it; clients are authenticated by their keys"),
    ignored("log_level", "use `log.level` instead"),
    ignored("derp_map_path", "use `derp.paths` instead"),
    ignored("derp.server.stun", "use `derp.server.stun_listen_addr` instead"),
];

pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

pub(crate) fn find_removed(path: &str) -> Option<&'static Removed> {
    REMOVED.iter().find(|key| key.path == path)
}

/// Whether the path is a section: there is a key below it, current or removed.
pub(crate) fn is_section(path: &str) -> bool {
    let below = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(|key| below(key.path)) || REMOVED.iter().any(|key| below(key.path))
}

/// The key or section that a misspelled path was most likely meant to be.
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

/// How far apart two paths are, if they are close enough for a suggestion: in the same section, with at most a third of
/// the letters of the last word different; or in different sections, with the same last word.
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
    // These words occur in so many sections that they do not tell which one was meant.
    const COMMON: &[&str] =
        &["enabled", "path", "type", "mode", "level", "format", "name", "server", "debug"];
    (distance == 0 && !COMMON.contains(&word.as_str())).then_some(3)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_and_their_variables_are_unique() {
        let paths: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
        let names: BTreeSet<_> = KEYS.iter().map(Key::env_name).collect();
        assert_eq!(paths.len(), KEYS.len());
        assert_eq!(names.len(), KEYS.len());
        assert!(REMOVED.iter().all(|removed| find(removed.path).is_none()));
        assert!(REMOVED.iter().filter_map(|removed| removed.successor).all(|path| find(path).is_some()));
    }

    #[test]
    fn misspelled_keys_get_a_suggestion() {
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
