//! Configuration that may change while the server runs: the DERP map and the extra DNS records.

use std::io;
use std::sync::Arc;

use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::Command;
use headsail_tailnet::model::settings::Settings as TailnetSettings;
use headsail_wire::derp_map::DerpMap;
use headsail_wire::dns::DnsConfig;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::clerk::Clerk;
use crate::config::Config;
use crate::derp_map::{self, MapSource};
use crate::dns;
use crate::start::sockets::forever;

/// Spawns tasks that bring changes of the DERP map and of the extra records file into the tailnet's settings. `known`
/// is the DERP map at startup.
pub(crate) fn follow(
    clerk: &Clerk,
    derp: MapSource,
    known: DerpMap,
    settings: &Config,
    tasks: &mut JoinSet<io::Result<()>>,
) {
    dns::warn_of_taken_names(&clerk.snapshot());
    let editor = Editor::new(clerk.clone());
    let for_derp = editor.clone();
    tasks.spawn(forever(derp_map::refresh_loop(derp, known, move |map| {
        let editor = for_derp.clone();
        async move { editor.edit(|s| s.derp = Arc::new(map)).await }
    })));
    if let Some(path) = settings.dns.extra_records_path.clone() {
        let known = clerk.snapshot().settings().dns.extra_records.clone();
        let clerk = clerk.clone();
        tasks.spawn(async move {
            dns::watch_extra_records(&path, known, dns::WATCH_EVERY, |records| {
                let (editor, clerk) = (&editor, &clerk);
                async move {
                    let with = |s: &mut TailnetSettings| {
                        s.dns = Arc::new(DnsConfig { extra_records: records, ..DnsConfig::clone(&s.dns) });
                    };
                    editor.edit(with).await;
                    dns::warn_of_taken_names(&clerk.snapshot());
                }
            })
            .await;
            Ok(())
        });
    }
}

/// Edits the settings of the tailnet. They are replaced as a whole, so edits take turns: two concurrent ones would
/// otherwise lose one.
#[derive(Clone)]
struct Editor {
    clerk: Clerk,
    turn: Arc<Mutex<()>>,
}

impl Editor {
    fn new(clerk: Clerk) -> Editor {
        Editor { clerk, turn: Arc::default() }
    }

    async fn edit(&self, edit: impl FnOnce(&mut TailnetSettings)) {
        let _turn = self.turn.lock().await;
        let mut next = TailnetSettings::clone(self.clerk.snapshot().settings());
        edit(&mut next);
        // Settings are kept in memory only and are never rejected: this fails only once the server has stopped.
        let _ =
            self.clerk.submit(Actor::File("configuration".into()), Command::Configure(Arc::new(next))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn edits_at_once_lose_nothing() {
        let tailnet = testing::tailnet();
        let editor = Editor::new(tailnet.clerk.clone());
        let editors: Vec<_> = (0..50)
            .map(|_| {
                let editor = editor.clone();
                async move { editor.edit(|s| s.max_tickets += 1).await }
            })
            .collect();
        let before = tailnet.clerk.snapshot().settings().max_tickets;
        futures_util::future::join_all(editors).await;
        assert_eq!(tailnet.clerk.snapshot().settings().max_tickets, before + 50);
    }
}
