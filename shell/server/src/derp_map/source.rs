//! Loading the map, keeping the last good one, and loading it again while the server runs.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use headsail_wire::derp_map::{DerpMap, DerpRegion};

use super::file;
use super::layer::{Layer, merge};
use crate::config::Derp;
use crate::system::files;

/// Limits of one fetch.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_MAP_BYTES: usize = 4 << 20;
/// Larger files are not our cache.
const MAX_CACHE_BYTES: u64 = 64 << 20;
/// How soon a failed fetch is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MOST: Duration = Duration::from_secs(600);

/// Where the map comes from, with what was last seen there.
pub struct MapSource {
    settings: Derp,
    embedded: Option<DerpRegion>,
    /// The last good map of each URL.
    fetched: BTreeMap<String, Layer>,
    /// The last good map of each file.
    read: BTreeMap<PathBuf, Layer>,
}

impl MapSource {
    /// The sources of the settings; `embedded` is the region of our own relay. It is added unless
    /// `automatically_add_embedded_derp_region` is off. Maps of former runs are read from the cache.
    pub fn new(settings: Derp, embedded: Option<DerpRegion>) -> MapSource {
        let wanted = settings.server.as_ref().is_some_and(|server| server.add_region);
        let fetched = cached(&settings);
        MapSource { embedded: embedded.filter(|_| wanted), fetched, read: BTreeMap::new(), settings }
    }

    /// The map as far as this machine knows it: files, the cache, our own relay. Asks nobody, so a start need not wait.
    ///
    /// # Errors
    /// A map file cannot be used; the sentence names it.
    pub fn local(&mut self) -> Result<DerpMap, String> {
        for path in &self.settings.paths {
            self.read.insert(path.clone(), file::load(path)?);
        }
        Ok(self.merged())
    }

    /// Loads everything again. Sources that fail keep their last good map; what is wrong, and what holds all the same, is
    /// returned.
    pub async fn refresh(&mut self) -> (DerpMap, Vec<String>) {
        let mut faults = Vec::new();
        let mut news = false;
        for url in &self.settings.urls {
            match fetch(url).await {
                Ok(layer) => news |= self.fetched.insert(url.clone(), layer.clone()) != Some(layer),
                Err(why) => {
                    let held = match self.fetched.contains_key(url) {
                        true => "its last good map stays",
                        false => "there is no earlier one",
                    };
                    faults.push(format!("cannot fetch the DERP map `{url}`: {why}; {held}"));
                }
            }
        }
        for path in &self.settings.paths {
            let file = path.clone();
            match files::run_blocking(move || file::load(&file).map_err(io::Error::other)).await {
                Ok(layer) => {
                    self.read.insert(path.clone(), layer);
                }
                Err(why) => faults.push(format!("{why}; what was read of it before stays")),
            }
        }
        if news && let Err(why) = self.keep().await {
            faults.push(why);
        }
        (self.merged(), faults)
    }

    /// Later sources win.
    fn merged(&self) -> DerpMap {
        let urls = self.settings.urls.iter().filter_map(|url| self.fetched.get(url));
        let paths = self.settings.paths.iter().filter_map(|path| self.read.get(path));
        let mut map = merge(urls.chain(paths));
        if let Some(region) = &self.embedded {
            map.regions.insert(region.region_id, region.clone());
        }
        map
    }

    async fn keep(&self) -> Result<(), String> {
        let path = &self.settings.cache;
        let failed = |why: &dyn std::fmt::Display| {
            format!("cannot keep the DERP map in `{}` for the next start: {why}", path.display())
        };
        let text = serde_json::to_vec(&self.fetched).map_err(|error| failed(&error))?;
        let cache = path.clone();
        files::run_blocking(move || files::write_private(&cache, &text)).await.map_err(|error| failed(&error))
    }
}

/// The maps of former runs, of the URLs that are still configured. A damaged cache counts as none.
fn cached(settings: &Derp) -> BTreeMap<String, Layer> {
    let urls: BTreeSet<&String> = settings.urls.iter().collect();
    let text = files::read_bounded(&settings.cache, MAX_CACHE_BYTES).unwrap_or_default();
    let kept: BTreeMap<String, Layer> = serde_json::from_str(&text).unwrap_or_default();
    kept.into_iter()
        .filter(|(url, _)| urls.contains(url))
        .filter_map(|(url, layer)| Some((url, layer.checked().ok()?)))
        .filter(|(_, layer)| !layer.is_empty())
        .collect()
}

/// Fetches the map at once, then every `update_every` if that is set, and hands over each one that differs from the
/// last; `known` is what the caller has from [`MapSource::local`]. While a source fails it is tried again sooner, with
/// growing pauses, even without automatic updates until each has answered once. Ends when nothing remains to be done.
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
        let (mut map, mut faults) = source.refresh().await;
        if map.regions.is_empty() && !known.regions.is_empty() {
            faults.push("the DERP maps name no relay any more".to_owned());
            map.clone_from(&known);
        }
        for fault in &faults {
            tracing::warn!("{fault}");
        }
        if map.regions.is_empty() && !faults.is_empty() {
            tracing::warn!(
                "there is no relay, and without one clients do not finish `tailscale up`: let this server reach \
                 `derp.urls`, or set `derp.server.enabled`"
            );
        }
        if map != known {
            tracing::info!(regions = map.regions.len(), "the DERP map changed");
            known.clone_from(&map);
            publish(map).await;
        }
        let pause = match (faults.is_empty(), every) {
            (true, None) => return,
            (true, Some(every)) => every,
            (false, every) => retry.min(every.unwrap_or(retry)),
        };
        retry = if faults.is_empty() { RETRY_FIRST } else { (retry * 2).min(RETRY_MOST) };
        tokio::time::sleep(pause).await;
    }
}

async fn fetch(url: &str) -> Result<Layer, String> {
    let mut response = client()?.get(url).send().await.map_err(|error| explained(&error))?;
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explained(&error))? {
        if body.len() + chunk.len() > MAX_MAP_BYTES {
            return Err(format!("it is larger than {MAX_MAP_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    let layer = Layer::from_json(&body)?;
    // Any JSON object reads as a map, an apology for an overload too.
    if layer.is_empty() { Err("it is not a DERP map: it names no region".to_owned()) } else { Ok(layer) }
}

/// A client for one fetch: they are hours apart, so nothing is kept open.
fn client() -> Result<reqwest::Client, String> {
    crate::tls::install_provider();
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(FETCH_TIMEOUT)
            .user_agent(concat!("headsail/", env!("CARGO_PKG_VERSION")))
    };
    if let Ok(client) = builder().build() {
        return Ok(client);
    }
    // Small images have no roots of their own, and the library then refuses: those of Mozilla serve instead.
    let tls = crate::tls::public_client_config().map_err(|error| error.to_string())?;
    builder().tls_backend_preconfigured(tls).build().map_err(|error| explained(&error))
}

/// The innermost cause, without the URL: that is named already.
fn explained(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests;
