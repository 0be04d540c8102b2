//! What belongs to one row only, among all rows of a database.

use std::collections::BTreeMap;

use headsail_tailnet::change::Change;

/// Who has what, as far as rows were read.
#[derive(Default)]
pub struct Unique(BTreeMap<(&'static str, String), u64>);

impl Unique {
    /// Notes what a row has.
    ///
    /// # Errors
    /// Another row has it already: one of the two is not what was written.
    pub fn note(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::User(user) => self.claim("user name", &user.name, user.id.get()),
            Change::AuthKey(key) => self.claim("pre-auth key prefix", &key.prefix, key.id.get()),
            Change::ApiKey(key) => self.claim("API key prefix", &key.prefix, key.id.get()),
            Change::Node(node) => {
                let id = node.id.get();
                self.claim("node key", &node.node_key.to_string(), id)?;
                self.claim("node name", &node.name, id)?;
                node.ips().try_for_each(|ip| self.claim("address", &ip.to_string(), id))
            }
            Change::UserGone(_)
            | Change::NodeGone(_)
            | Change::Contact(..)
            | Change::Presence(..)
            | Change::Tombstone(_)
            | Change::TombstoneGone(_)
            | Change::AuthKeyGone(_)
            | Change::ApiKeyGone(_)
            | Change::Ticket(_)
            | Change::TicketGone(_)
            | Change::SshCheck(_)
            | Change::SshCheckGone(_)
            | Change::Policy(_)
            | Change::Settings(_)
            | Change::NextId(..) => Ok(()),
        }
    }

    fn claim(&mut self, what: &'static str, value: &str, id: u64) -> Result<(), String> {
        match self.0.insert((what, value.to_owned()), id) {
            None => Ok(()),
            Some(other) => Err(format!("its {what} `{value}` is that of row `{other}`, too")),
        }
    }
}
