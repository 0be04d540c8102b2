//! Told = ought over real sockets: what streams have told makes the map that a fresh stream begins with.

use std::time::{Duration, Instant};

use headsail_netmap::NetMap;

use super::{Join, PATIENCE, endpoints, join, reconnect};
use crate::Result;
use crate::fleet::Fleet;
use crate::report::Report;

/// How often a view that is not yet what it ought to be is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Joins, moves and cuts nodes, decodes everything whole, and compares every node's view with a fresh map.
///
/// # Errors
/// A node whose view stays another one, with what differs.
pub async fn check(fleet: &mut Fleet, how: Join) -> Result<Report> {
    fleet.board().keep_views();
    join(fleet, None, how).await?;
    compare(fleet, "joining").await?;
    endpoints(fleet, None, &[20], 10).await?;
    compare(fleet, "endpoint changes").await?;
    reconnect(fleet, None, 1).await?;
    compare(fleet, "reconnecting").await?;
    let mut report = Report::new("check", how.nodes);
    report.count("views that were compared", 3 * how.nodes);
    Ok(report)
}

async fn compare(fleet: &Fleet, after: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for node in 0..fleet.online() {
        loop {
            let ought = fresh(fleet, node).await?;
            let told = fleet.board().view(node).ok_or("a node has no view")?;
            let Some(what) = difference(&told, &ought) else { break };
            // What was decided a moment ago may still be under way.
            if Instant::now() > deadline {
                return Err(format!(
                    "after {after}, node `{node}` was told of other {what} than it ought to be"
                )
                .into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// What a stream that changes nothing begins with.
async fn fresh(fleet: &Fleet, node: usize) -> Result<NetMap> {
    let mut connection = fleet.connect(node).await?;
    let mut stream = connection.open_stream(fleet.identity(node)?, true).await?;
    let frame = stream.next().await?.ok_or("the server ended the stream before the map")?;
    let mut view = None;
    fleet.board().directory.apply(&mut view, &frame.payload)?;
    Ok(view.ok_or("the first frame is no map")?)
}

/// The first part in which two views differ. Of profiles a client may hold more than it ought to.
fn difference(told: &NetMap, ought: &NetMap) -> Option<&'static str> {
    let profiles = ought.profiles.iter().all(|(id, profile)| told.profiles.get(id) == Some(profile));
    [
        ("facts about itself", told.me == ought.me),
        ("peers", told.peers == ought.peers),
        ("filters", told.filters == ought.filters),
        ("DNS settings", told.dns == ought.dns),
        ("relays", told.derp == ought.derp),
        ("SSH rules", told.ssh == ought.ssh),
        ("profiles", profiles),
    ]
    .into_iter()
    .find_map(|(what, same)| (!same).then_some(what))
}
