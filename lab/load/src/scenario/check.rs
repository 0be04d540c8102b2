//! Correctness over real sockets: the frames of each stream add up to the map that a fresh stream begins with.

use std::time::{Duration, Instant};

use headsail_netmap::NetMap;

use super::{Join, PATIENCE, endpoints, join, reconnect};
use crate::Result;
use crate::fleet::Fleet;
use crate::report::Report;

/// How often a view that differs is compared again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Lets nodes join, move and reconnect, decodes every frame fully, and compares every node's view with a fresh map.
///
/// # Errors
/// A view still differs after the timeout; the error names the part that differs.
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
            // A change from a moment ago may still be on its way.
            if Instant::now() > deadline {
                return Err(
                    format!("after {after}, the {what} of node `{node}` differ from a fresh map").into()
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

/// The first map of a new read-only stream.
async fn fresh(fleet: &Fleet, node: usize) -> Result<NetMap> {
    let mut connection = fleet.connect(node).await?;
    let mut stream = connection.open_stream(fleet.identity(node)?, true).await?;
    let frame = stream.next().await?.ok_or("the server ended the stream before the first map")?;
    let mut view = None;
    fleet.board().directory.apply(&mut view, &frame.payload)?;
    Ok(view.ok_or("the first frame is not a map")?)
}

/// The first part in which two views differ. A client may keep profiles that it no longer needs.
fn difference(told: &NetMap, ought: &NetMap) -> Option<&'static str> {
    let profiles = ought.profiles.iter().all(|(id, profile)| told.profiles.get(id) == Some(profile));
    [
        ("facts about the node itself", told.me == ought.me),
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
