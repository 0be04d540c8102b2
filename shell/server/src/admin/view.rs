//! Converts rows of the tailnet to the types of the API.

use std::sync::Arc;

use headsail_api::Timestamp;
use headsail_api::v1::apikey::ApiKey;
use headsail_api::v1::auth::{Granted, PendingAuth, PendingKind};
use headsail_api::v1::node::{Node, RegisterMethod};
use headsail_api::v1::preauthkey::PreAuthKey;
use headsail_api::v1::user::User;
use headsail_policy::Role;
use headsail_tailnet::model::key::{API_KEY_PREFIX, AUTH_KEY_PREFIX};
use headsail_tailnet::model::node::Owner;
use headsail_tailnet::model::{key, node, ssh_check, ticket, user};
use headsail_tailnet::tailnet::Tailnet;
use headsail_tailnet::view::served_routes;
use headsail_wire::time::Time;

pub fn time(t: Time) -> Option<Timestamp> {
    Timestamp::from_microsecond(t.micros()).ok()
}

pub fn from_time(t: Timestamp) -> Time {
    Time::from_micros(t.as_microsecond())
}

pub fn user(u: &user::User) -> User {
    User {
        id: u.id.get(),
        name: u.name.clone(),
        created_at: time(u.created),
        display_name: u.display_name.clone(),
        email: u.email.clone(),
        provider_id: u.provider_id.clone(),
        provider: u.provider.clone(),
        profile_pic_url: u.picture_url.clone(),
        role: Some(u.role).filter(|r| *r != Role::Member).map(|r| r.name().to_owned()).unwrap_or_default(),
    }
}

/// A pre-auth key, with its secret masked.
pub fn auth_key(t: &Tailnet, k: &key::AuthKey) -> PreAuthKey {
    PreAuthKey {
        user: k.user.and_then(|id| t.user(id)).map(|u| user(u)),
        id: k.id.get(),
        key: format!("{AUTH_KEY_PREFIX}{}-***", k.prefix),
        reusable: k.reusable,
        ephemeral: k.ephemeral,
        used: k.used,
        expiration: k.expiration.and_then(time),
        created_at: time(k.created),
        acl_tags: k.tags.iter().cloned().collect(),
    }
}

/// An API key, with its secret masked.
pub fn api_key(k: &key::ApiKey) -> ApiKey {
    ApiKey {
        id: k.id.get(),
        prefix: format!("{API_KEY_PREFIX}{}-***", k.prefix),
        expiration: k.expiration.and_then(time),
        created_at: time(k.created),
        last_seen: k.last_seen.and_then(time),
    }
}

pub fn node(t: &Tailnet, n: &node::Node) -> Node {
    let texts = |nets: &mut dyn Iterator<Item = &ipnet::IpNet>| nets.map(ToString::to_string).collect();
    Node {
        id: n.id.get(),
        machine_key: n.machine_key.to_string(),
        node_key: n.node_key.to_string(),
        disco_key: n.contact.disco_key.to_string(),
        ip_addresses: n.ips().map(|ip| ip.to_string()).collect(),
        name: n.hostname.clone(),
        user: match &n.owner {
            Owner::User(id) => t.user(*id).map(|u| user(u)),
            Owner::Tags(_) => Some(User::tagged_devices()),
        },
        last_seen: time(n.presence.seen()),
        expiry: n.expiry.time().and_then(time),
        pre_auth_key: n.auth_key.and_then(|id| t.auth_key(id)).map(|k| auth_key(t, k)),
        created_at: time(n.created),
        register_method: match n.method {
            node::RegisterMethod::AuthKey => RegisterMethod::AuthKey,
            node::RegisterMethod::Cli => RegisterMethod::Cli,
            node::RegisterMethod::Oidc => RegisterMethod::Oidc,
        },
        given_name: n.name.clone(),
        online: n.presence.is_online(),
        approved_routes: texts(&mut n.approved_routes.iter()),
        available_routes: texts(&mut n.advertised_routes().iter()),
        subnet_routes: texts(&mut served_routes(t, n).iter()),
        tags: n.owner.tags(),
    }
}

/// A pending registration.
pub fn pending(t: &Tailnet, k: &Arc<ticket::Ticket>) -> PendingAuth {
    PendingAuth {
        auth_id: k.id.clone(),
        kind: PendingKind::Register,
        source: k.asking.hostinfo.hostname.clone(),
        destination: String::new(),
        os: k.asking.hostinfo.os.clone(),
        source_address: k.asking.source.map(|ip| ip.to_string()).unwrap_or_default(),
        key_fingerprint: k.asking.fingerprint(),
        requested_tags: k.asking.hostinfo.request_tags.clone(),
        requested_routes: k.asking.hostinfo.routable_ips.iter().map(ToString::to_string).collect(),
        ephemeral: k.asking.ephemeral,
        requested_expiry: k.asking.expiry.and_then(time),
        created_at: time(k.until.plus_secs(-t.settings().ticket_secs)),
        expires_at: time(k.until),
    }
}

/// What the approval of a login granted.
pub fn granted(t: &Tailnet, n: &node::Node, k: &ticket::Ticket) -> Granted {
    let asked = n.advertised_routes();
    let (approved, unapproved): (Vec<_>, Vec<_>) =
        asked.iter().partition(|net| n.approved_routes.contains(net));
    let texts = |nets: Vec<&ipnet::IpNet>| nets.into_iter().map(ToString::to_string).collect();
    Granted {
        user: n.owner.user().and_then(|id| t.user(id)).map(|u| u.name.clone()).unwrap_or_default(),
        tags: n.owner.tags(),
        approved_routes: texts(approved),
        unapproved_routes: texts(unapproved),
        ephemeral: n.ephemeral,
        expiry: n.expiry.time().and_then(time),
        key_fingerprint: k.asking.fingerprint(),
    }
}

/// An SSH session that waits for a check.
pub fn pending_session(t: &Tailnet, c: &ssh_check::SshCheck) -> PendingAuth {
    let name = |id| t.node(id).map(|n| n.name.clone()).unwrap_or_default();
    PendingAuth {
        auth_id: c.id.clone(),
        kind: PendingKind::Ssh,
        source: name(c.src),
        destination: format!("{}@{}", c.account, name(c.dst)),
        created_at: time(c.until.plus_secs(-t.settings().ticket_secs)),
        expires_at: time(c.until),
        ..PendingAuth::default()
    }
}
