//! Loads the DERP map, caches the last good one on disk, and reloads it while the server runs.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use headsail_wire::derp_map::{DerpMap, DerpRegion};

use super::file;
use super::layer::{Layer, merge};
use crate::config::Derp;
use crate::system::{fetch, files};

/// Bound on a fetched map.
const MAX_MAP_BYTES: usize = 4 << 20;
/// Bound on the cache file; a larger one was not written by us.
const MAX_CACHE_BYTES: u64 = 64 << 20;
/// Delay before a failed fetch is retried: the first one, and the maximum of the exponential backoff.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MOST: Duration = Duration::from_secs(600);

/// The sources of the DERP map and the last good map of each.
pub struct MapSource {
    settings: Derp,
    embedded: Option<DerpRegion>,
    /// By URL.
    fetched: BTreeMap<String, Layer>,
    /// By file.
    read: BTreeMap<PathBuf, Layer>,
}

impl MapSource {
    /// `embedded` is the region of our own relay; it is ignored if `automatically_add_embedded_derp_region` is off.
    /// Reads the maps of earlier runs from the cache.
    pub fn new(settings: Derp, embedded: Option<DerpRegion>) -> MapSource {
        let wanted = settings.server.as_ref().is_some_and(|server| server.add_region);
        let fetched = cached(&settings);
        MapSource { embedded: embedded.filter(|_| wanted), fetched, read: BTreeMap::new(), settings }
    }

    /// The map from what is on this machine: map files, the cache, our own relay. Makes no request, so that startup
    /// does not wait for the network.
    ///
    /// # Errors
    /// A map file is invalid; the message names it.
    pub fn local(&mut self) -> Result<DerpMap, String> {
        for path in &self.settings.paths {
            self.read.insert(path.clone(), file::load(path)?);
        }
        Ok(self.merged())
    }

    /// Reloads all sources and returns the merged map, with a message for each source that failed. A failed source
    /// keeps its last good map.
    pub async fn refresh(&mut self) -> (DerpMap, Vec<String>) {
        let mut problems = Vec::new();
        let mut changed = false;
        for url in &self.settings.urls {
            match fetch_map(url).await {
                Ok(layer) => changed |= self.fetched.insert(url.clone(), layer.clone()) != Some(layer),
                Err(why) => {
                    let fallback = if self.fetched.contains_key(url) {
                        "using the last good map"
                    } else {
                        "there is no earlier map to fall back to"
                    };
                    problems.push(format!("cannot fetch the DERP map `{url}`: {why}; {fallback}"));
                }
            }
        }
        for path in &self.settings.paths {
            let file = path.clone();
            match files::run_blocking(move || file::load(&file).map_err(io::Error::other)).await {
                Ok(layer) => {
                    self.read.insert(path.clone(), layer);
                }
                Err(why) => problems.push(format!("{why}; using the map that was last read from this file")),
            }
        }
        if changed && let Err(why) = self.save_cache().await {
            problems.push(why);
        }
        (self.merged(), problems)
    }

    /// All sources merged: URLs first, then files, then our own relay; later ones win.
    fn merged(&self) -> DerpMap {
        let urls = self.settings.urls.iter().filter_map(|url| self.fetched.get(url));
        let paths = self.settings.paths.iter().filter_map(|path| self.read.get(path));
        let mut map = merge(urls.chain(paths));
        if let Some(region) = &self.embedded {
            map.regions.insert(region.region_id, region.clone());
        }
        map
    }

    async fn save_cache(&self) -> Result<(), String> {
        let path = &self.settings.cache;
        let failed = |why: &dyn std::fmt::Display| {
            format!("cannot save the DERP map to `{}` for the next startup: {why}", path.display())
        };
        let text = serde_json::to_vec(&self.fetched).map_err(|error| failed(&error))?;
        let cache = path.clone();
        files::run_blocking(move || files::write_private(&cache, &text)).await.map_err(|error| failed(&error))
    }
}

/// The cached maps of the URLs that are still configured. A damaged cache counts as empty.
fn cached(settings: &Derp) -> BTreeMap<String, Layer> {
    let urls: BTreeSet<&String> = settings.urls.iter().collect();
    let text = files::read_bounded(&settings.cache, MAX_CACHE_BYTES).unwrap_or_default();
    let all: BTreeMap<String, Layer> = serde_json::from_str(&text).unwrap_or_default();
    all.into_iter()
        .filter(|(url, _)| urls.contains(url))
        .filter_map(|(url, layer)| Some((url, layer.checked().ok()?)))
        .filter(|(_, layer)| !layer.is_empty())
        .collect()
}

/// Reloads the map at once, then every `update_every` if that is set, and calls `publish` with each map that differs
/// from the one before; `known` is the map from [`MapSource::local`]. After a failure it retries with exponential
/// backoff; without automatic updates it does so until one round has succeeded, and then returns.
pub async fn refresh_loop<F: Future<Output = ()>>(
    mut source: MapSource,
    mut known: DerpMap,
    publish: impl Fn(DerpMap) -> F,
) {
    let every = source.settings.update_every;
    if every.is_none() && source.settings.urls.is_empty() {
        return;
    }
    let mut retry = RETRY_FIRST;
    loop {
        let (mut map, mut problems) = source.refresh().await;
        if map.regions.is_empty() && !known.regions.is_empty() {
            problems.push("the DERP maps no longer contain any relay; using the previous map".to_owned());
            map.clone_from(&known);
        }
        for problem in &problems {
            tracing::warn!("{problem}");
        }
        if map.regions.is_empty() && !problems.is_empty() {
            tracing::warn!(
                "no relay is available, and without one `tailscale up` does not complete: make sure that this server can \
                 reach `derp.urls`, or enable its own relay with `derp.server.enabled`"
            );
        }
        if map != known {
            tracing::info!(regions = map.regions.len(), "the DERP map was updated");
            known.clone_from(&map);
            publish(map).await;
        }
        let pause = match (problems.is_empty(), every) {
            (true, None) => return,
            (true, Some(every)) => every,
            (false, every) => retry.min(every.unwrap_or(retry)),
        };
        retry = if problems.is_empty() { RETRY_FIRST } else { (retry * 2).min(RETRY_MOST) };
        tokio::time::sleep(pause).await;
    }
}

async fn fetch_map(url: &str) -> Result<Layer, String> {
    let layer = Layer::from_json(&fetch::get(url, MAX_MAP_BYTES).await?)?;
    // Any JSON object decodes as a map, including an error document such as `{"message": "rate limited"}`.
    if layer.is_empty() { Err("not a DERP map: it has no regions".to_owned()) } else { Ok(layer) }
}

#[cfg(test)]
mod tests;
