//! Who caused a change.

use std::fmt;
use std::str::FromStr;

use headsail_wire::ids::{ApiKeyId, NodeId, UserId};
use headsail_wire::keys::MachineKey;

/// Who submitted a command. The change log keeps it with each change that the command caused.
///
/// [`fmt::Display`] writes it as a kind with an optional subject, such as `node:12` or `clock`; [`FromStr`] reads that
/// back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// A registered node, over its control connection.
    Node(NodeId),
    /// A machine that registers: it may not have a node yet.
    Machine(MachineKey),
    /// Whoever holds this API key.
    ApiKey(ApiKeyId),
    /// A person who signed in.
    User(UserId),
    /// A process on the unix socket, by the user id that the kernel reports for it.
    UnixUser(u32),
    /// A deadline.
    Clock,
    /// A file that the configuration names, by its role: `policy`, `configuration`.
    File(String),
    /// The server itself, at startup and shutdown.
    Server,
}

impl Actor {
    /// Every [`Actor::kind`].
    pub const KINDS: [&'static str; 8] =
        ["node", "machine", "api-key", "user", "unix", "clock", "file", "server"];

    /// The kind, as the change log stores it and filters name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Actor::Node(_) => "node",
            Actor::Machine(_) => "machine",
            Actor::ApiKey(_) => "api-key",
            Actor::User(_) => "user",
            Actor::UnixUser(_) => "unix",
            Actor::Clock => "clock",
            Actor::File(_) => "file",
            Actor::Server => "server",
        }
    }

    /// Whether clients or deadlines cause such changes, rather than people and what they configure. There are many of
    /// them, so the change log keeps them for less long.
    pub fn is_routine(&self) -> bool {
        match self {
            Actor::Node(_) | Actor::Machine(_) | Actor::Clock => true,
            Actor::ApiKey(_) | Actor::User(_) | Actor::UnixUser(_) | Actor::File(_) | Actor::Server => false,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Actor::Node(id) => write!(f, "{kind}:{id}"),
            Actor::Machine(key) => write!(f, "{kind}:{key}"),
            Actor::ApiKey(id) => write!(f, "{kind}:{id}"),
            Actor::User(id) => write!(f, "{kind}:{id}"),
            Actor::UnixUser(uid) => write!(f, "{kind}:{uid}"),
            Actor::File(role) => write!(f, "{kind}:{role}"),
            Actor::Clock | Actor::Server => f.write_str(kind),
        }
    }
}

impl FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Actor, String> {
        let (kind, subject) = text.split_once(':').unwrap_or((text, ""));
        let actor = match kind {
            "node" => subject.parse().ok().map(Actor::Node),
            "machine" => subject.parse().ok().map(Actor::Machine),
            "api-key" => subject.parse().ok().map(Actor::ApiKey),
            "user" => subject.parse().ok().map(Actor::User),
            "unix" => subject.parse().ok().map(Actor::UnixUser),
            "file" => Some(Actor::File(subject.to_owned())),
            "clock" if subject.is_empty() => Some(Actor::Clock),
            "server" if subject.is_empty() => Some(Actor::Server),
            _ => None,
        };
        actor.ok_or_else(|| format!("`{text}` is not an actor"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_survive_being_written_and_read() {
        let actors = [
            Actor::Node(NodeId::new(12).unwrap()),
            Actor::Machine(MachineKey::from_bytes([7; 32])),
            Actor::ApiKey(ApiKeyId::new(3).unwrap()),
            Actor::User(UserId::new(1).unwrap()),
            Actor::UnixUser(1000),
            Actor::Clock,
            Actor::File("policy".into()),
            Actor::Server,
        ];
        for actor in actors {
            let text = actor.to_string();
            assert_eq!(text.parse(), Ok(actor.clone()), "{text}");
            assert!(text.starts_with(actor.kind()) && Actor::KINDS.contains(&actor.kind()));
        }
        for wrong in ["", "node", "node:x", "clock:1", "nobody:1"] {
            assert!(wrong.parse::<Actor>().is_err(), "{wrong}");
        }
    }
}
