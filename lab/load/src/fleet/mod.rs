//! Many nodes, each with its own keys, connection and map stream.

mod board;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinSet};

pub use board::{Board, Note, Viewer, What};

use crate::Result;
use crate::client::{Connection, Directory, Identity, Target};

/// How long a node waits before it reopens a stream that the server ended.
const RETURN_AFTER: Duration = Duration::from_millis(250);
/// Maximum number of nodes: each needs an open file here and another in the server.
pub const MAX_NODES: usize = 10_000;

/// The nodes of a load. Dropping it cuts all their connections.
pub struct Fleet {
    shared: Arc<Shared>,
    online: BTreeMap<usize, Member>,
}

struct Shared {
    target: Target,
    auth_key: String,
    identities: Vec<Identity>,
    board: Board,
}

/// How a node comes online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It registers first.
    New,
    /// It is already registered.
    Known,
}

/// The times of a node's steps to its first map.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// It began to connect.
    pub started: Instant,
    /// Its Noise connection was ready, and it sent its registration.
    pub connected: Instant,
    pub registered: Instant,
    /// Its first map had arrived.
    pub first_map: Instant,
}

/// A node that stays online until this is dropped.
struct Member(AbortHandle);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fleet {
    /// Creates `size` nodes with fresh keys, all offline.
    ///
    /// # Errors
    /// `size` exceeds [`MAX_NODES`], or the system provides no random bytes.
    pub fn new(target: Target, auth_key: &str, size: usize) -> Result<Fleet> {
        if size > MAX_NODES {
            return Err(format!("`{size}` nodes are too many; the limit is {MAX_NODES}").into());
        }
        let identities = (0..size).map(Identity::new).collect::<Result<Vec<_>>>()?;
        let board = Board::new(Directory::new(&identities));
        let shared = Shared { target, auth_key: auth_key.to_owned(), identities, board };
        Ok(Fleet { shared: Arc::new(shared), online: BTreeMap::new() })
    }

    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// A node's keys.
    ///
    /// # Errors
    /// There is no such node.
    pub fn identity(&self, node: usize) -> Result<&Identity> {
        self.shared.identities.get(node).ok_or_else(|| format!("the fleet has no node `{node}`").into())
    }

    /// The number of nodes, online or not.
    pub fn size(&self) -> usize {
        self.shared.identities.len()
    }

    pub fn online(&self) -> usize {
        self.online.len()
    }

    /// Opens another connection of a node, besides that of its stream.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn connect(&self, node: usize) -> Result<Connection> {
        Connection::open(&self.shared.target, self.identity(node)?).await
    }

    /// Brings nodes online, `in_flight` at a time, and waits until each has its first map or has failed.
    pub async fn enter(
        &mut self,
        nodes: Range<usize>,
        in_flight: usize,
        entry: Entry,
    ) -> Vec<Result<Arrival>> {
        let gate = Arc::new(Semaphore::new(in_flight.max(1)));
        let mut entering = JoinSet::new();
        for node in nodes {
            let (report, arrived) = oneshot::channel();
            let life = live(self.shared.clone(), node, entry, gate.clone(), report);
            self.online.insert(node, Member(tokio::spawn(life).abort_handle()));
            entering.spawn(async move { arrived.await? });
        }
        let mut arrivals = Vec::with_capacity(entering.len());
        while let Some(arrival) = entering.join_next().await {
            arrivals.push(arrival.unwrap_or_else(|e| Err(e.into())));
        }
        arrivals
    }

    /// Cuts the connections of nodes, as if their machines had lost power.
    pub fn cut(&mut self, nodes: Range<usize>) {
        self.online.retain(|node, _| !nodes.contains(node));
    }
}

/// Runs one node: it comes online, follows its stream, and reconnects when the server ends it.
async fn live(
    shared: Arc<Shared>,
    node: usize,
    entry: Entry,
    gate: Arc<Semaphore>,
    report: oneshot::Sender<Result<Arrival>>,
) {
    let mut entry = Some((entry, gate, report));
    loop {
        if let Err(error) = shared.session(node, &mut entry).await {
            shared.board.complain(&error);
            if let Some((_, _, report)) = entry.take() {
                // The receiver is gone if the load was aborted.
                let _ = report.send(Err(error));
                return;
            }
        }
        shared.board.note(node, What::Ended, Instant::now());
        tokio::time::sleep(RETURN_AFTER).await;
    }
}

type Entering = Option<(Entry, Arc<Semaphore>, oneshot::Sender<Result<Arrival>>)>;

impl Shared {
    /// One connection and one stream, until the server ends it.
    async fn session(&self, node: usize, entering: &mut Entering) -> Result<()> {
        let identity = self.identities.get(node).ok_or("there is no such node")?;
        let gate = entering.as_ref().map(|(_, gate, _)| gate.clone());
        let mut permit = match &gate {
            Some(gate) => Some(gate.acquire().await?),
            None => None,
        };
        let started = Instant::now();
        let mut connection = Connection::open(&self.target, identity).await?;
        let connected = Instant::now();
        if matches!(entering, Some((Entry::New, _, _))) {
            connection.register(identity, &self.auth_key).await?;
        }
        let registered = Instant::now();
        let mut stream = connection.open_stream(identity, false).await?;
        let mut viewer = Viewer::new(&self.board, node, self.identities.len());
        while let Some(frame) = stream.next().await? {
            if viewer.read(&frame)? {
                permit = None;
                if let Some((_, _, report)) = entering.take() {
                    // The receiver is gone if the load was aborted.
                    let _ = report.send(Ok(Arrival { started, connected, registered, first_map: frame.at }));
                }
            }
        }
        drop(permit);
        if entering.is_some() {
            Err("the server ended the stream before the first map".into())
        } else {
            Ok(())
        }
    }
}
