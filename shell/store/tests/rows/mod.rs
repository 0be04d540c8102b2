//! Rows to store.

use std::sync::Arc;

use headsail_tailnet::change::Change;
use headsail_tailnet::model::key::{ApiKey, AuthKey, KeyDigest};
use headsail_tailnet::model::node::{Contact, Expiry, Node, Owner, Presence, RegisterMethod};
use headsail_tailnet::model::user::User;
use headsail_wire::capver::CapVer;
use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;

pub fn auth_key(id: u64, used: bool) -> Change {
    Change::AuthKey(Arc::new(AuthKey {
        id: AuthKeyId::new(id).unwrap(),
        prefix: format!("prefix{id:06}"),
        digest: KeyDigest::from_bytes([id.to_le_bytes()[0]; 32]),
        user: Some(UserId::new(1).unwrap()),
        tags: Default::default(),
        reusable: false,
        ephemeral: false,
        used,
        expiration: None,
        created: Time::EPOCH,
    }))
}

pub fn api_key(id: u64, expiration: Option<Time>) -> Change {
    Change::ApiKey(Arc::new(ApiKey {
        id: ApiKeyId::new(id).unwrap(),
        prefix: format!("prefix{id:06}"),
        digest: KeyDigest::from_bytes([id.to_le_bytes()[0]; 32]),
        expiration,
        created: Time::EPOCH,
        last_seen: None,
    }))
}

pub fn user(id: u64) -> Change {
    Change::User(Arc::new(User {
        id: UserId::new(id).unwrap(),
        name: format!("user{id}"),
        display_name: String::new(),
        email: String::new(),
        provider: String::new(),
        provider_id: String::new(),
        picture_url: String::new(),
        role: Default::default(),
        created: Time::EPOCH,
    }))
}

pub fn node(id: u64) -> Change {
    let byte = id.to_le_bytes()[0];
    Change::Node(Arc::new(Node {
        id: NodeId::new(id).unwrap(),
        machine_key: MachineKey::from_bytes([byte; 32]),
        node_key: NodeKey::from_bytes([byte; 32]),
        owner: Owner::User(UserId::new(1).unwrap()),
        hostname: "host".into(),
        name: format!("host{id}"),
        name_pinned: false,
        v4: Some([100, 64, 0, byte].into()),
        v6: None,
        hostinfo: Default::default(),
        cap: CapVer::FLOOR,
        contact: Contact::default(),
        presence: Presence::Offline { since: Time::EPOCH },
        expiry: Expiry::Never,
        ephemeral: false,
        method: RegisterMethod::AuthKey,
        auth_key: None,
        approved_routes: Default::default(),
        created: Time::EPOCH,
    }))
}
