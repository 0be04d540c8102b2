//! Maps from an HTTP server on loopback.

use std::fs;
use std::sync::Mutex;

use tokio::sync::mpsc;

use super::*;
use crate::system::fetch::tests::{dead_url, server};

const ONE: &str = r#"{"Regions":{"1":{"RegionID":1,"RegionCode":"one","Nodes":[{"Name":"1a","HostName":"a.example"}]},"2":{"RegionCode":"two"}}}"#;

fn settings(urls: &[&str], paths: &[PathBuf], cache: PathBuf) -> Derp {
    crate::tls::install_provider();
    Derp {
        server: None,
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        paths: paths.to_vec(),
        update_every: None,
        cache,
    }
}

fn codes(map: &DerpMap) -> Vec<(u32, &str)> {
    map.regions.iter().map(|(id, region)| (*id, region.region_code.as_str())).collect()
}

#[tokio::test]
async fn sources_are_merged_in_order_with_the_embedded_relay_last() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _) = server(ONE).await;
    let path = dir.path().join("derp.yaml");
    fs::write(&path, "regions: {2: , 3: {regioncode: three}, 999: {regioncode: other}}").unwrap();
    let mut settings = settings(&[&url], &[path], dir.path().join("cache.json"));
    let relay = crate::config::Config::embedded(dir.path(), &crate::config::Env::new())
        .unwrap_or_else(|error| panic!("{error}"))
        .derp
        .server;
    settings.server = relay.clone();
    let own = DerpRegion { region_id: 999, region_code: "own".into(), ..DerpRegion::default() };
    let mut source = MapSource::new(settings.clone(), Some(own.clone()));
    assert_eq!(codes(&source.local().unwrap()), [(3, "three"), (999, "own")]);
    let (map, problems) = source.refresh().await;
    assert_eq!((codes(&map), problems), (vec![(1, "one"), (3, "three"), (999, "own")], Vec::new()));
    settings.server = relay.map(|server| crate::config::DerpServer { add_region: false, ..server });
    let mut source = MapSource::new(settings, Some(own));
    assert_eq!(codes(&source.local().unwrap()), [(1, "one"), (3, "three"), (999, "other")]);
}

#[tokio::test]
async fn the_last_good_map_survives_failures_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache.json");
    let (url, answer) = server(ONE).await;
    let mut source = MapSource::new(settings(&[&url], &[], cache.clone()), None);
    source.refresh().await;
    let no_region = "not a DERP map: it has no regions";
    for (bad, why) in [
        ("", "the server answered 503 Service Unavailable"),
        ("<html>", "not a DERP map: "),
        (r#"{"message":"rate limited"}"#, no_region),
        (r#"{"Regions":null}"#, no_region),
        (r#"{"Regions":{}}"#, no_region),
    ] {
        bad.clone_into(&mut answer.lock().unwrap());
        let (map, problems) = source.refresh().await;
        assert_eq!(codes(&map), [(1, "one"), (2, "two")]);
        assert!(
            problems[0].starts_with(&format!("cannot fetch the DERP map `{url}`: {why}")),
            "{problems:?}"
        );
        assert!(problems[0].ends_with("; using the last good map"), "{problems:?}");
    }
    answer.lock().unwrap().clone_from(&"x".repeat(MAX_MAP_BYTES + 1));
    assert!(source.refresh().await.1[0].contains("the response is larger than 4194304 bytes"));

    let mut restarted = MapSource::new(settings(&[&url], &[], cache.clone()), None);
    assert_eq!(codes(&restarted.local().unwrap()), [(1, "one"), (2, "two")]);
    let other = dead_url().await;
    let mut elsewhere = MapSource::new(settings(&[&other], &[], cache.clone()), None);
    assert_eq!(codes(&elsewhere.local().unwrap()), []);
    fs::write(&cache, "damaged").unwrap();
    assert_eq!(codes(&MapSource::new(settings(&[&url], &[], cache), None).local().unwrap()), []);
}

#[tokio::test]
async fn an_unreachable_url_is_a_problem_but_an_invalid_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let url = dead_url().await;
    let missing = dir.path().join("none.yaml");
    let mut source = MapSource::new(settings(&[&url], &[], dir.path().join("cache.json")), None);
    assert_eq!(source.local().unwrap(), DerpMap::default());
    let (map, problems) = source.refresh().await;
    assert_eq!((map, problems.len()), (DerpMap::default(), 1));
    assert!(problems[0].ends_with("; there is no earlier map to fall back to"), "{problems:?}");
    let mut source = MapSource::new(settings(&[], &[missing], dir.path().join("cache.json")), None);
    assert!(source.local().unwrap_err().starts_with("cannot read the DERP map `"));
}

#[tokio::test]
async fn each_change_is_published_once_even_after_failures() {
    let dir = tempfile::tempdir().unwrap();
    let (url, answer) = server("").await;
    let mut settings = settings(&[&url], &[], dir.path().join("cache.json"));
    settings.update_every = Some(Duration::from_millis(5));
    let mut source = MapSource::new(settings, None);
    let known = source.local().unwrap();
    let (sender, mut published) = mpsc::unbounded_channel();
    let refresher = tokio::spawn(refresh_loop(source, known, move |map| {
        let _ = sender.send(map);
        std::future::ready(())
    }));
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(10), published.recv()).await.expect("in time").expect("open")
    };
    ONE.clone_into(&mut answer.lock().unwrap());
    assert_eq!(codes(&next().await), [(1, "one"), (2, "two")]);
    ONE.replace("two", "deux").clone_into(&mut answer.lock().unwrap());
    assert_eq!(codes(&next().await), [(1, "one"), (2, "deux")]);
    refresher.abort();
}

#[tokio::test]
async fn without_automatic_updates_the_loop_ends_after_one_good_round() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _) = server(ONE).await;
    let mut source = MapSource::new(settings(&[&url], &[], dir.path().join("cache.json")), None);
    let known = source.local().unwrap();
    let published = Mutex::new(Vec::new());
    let publish = |map| {
        published.lock().unwrap().push(map);
        std::future::ready(())
    };
    tokio::time::timeout(Duration::from_secs(10), refresh_loop(source, known, publish))
        .await
        .expect("the loop ends");
    assert_eq!(published.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_map_file_without_relays_does_not_replace_a_map_with_relays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("derp.yaml");
    let three = "regions: {3: {regioncode: three, nodes: [{hostname: c.example}]}}";
    fs::write(&path, three).unwrap();
    let mut settings = settings(&[], std::slice::from_ref(&path), dir.path().join("cache.json"));
    settings.update_every = Some(Duration::from_millis(5));
    let mut source = MapSource::new(settings, None);
    let known = source.local().unwrap();
    fs::write(&path, "regions: {}").unwrap();
    assert_eq!(codes(&source.refresh().await.0), []);
    let (sender, mut published) = mpsc::unbounded_channel();
    let refresher = tokio::spawn(refresh_loop(source, known, move |map| {
        let _ = sender.send(map);
        std::future::ready(())
    }));
    // The first round runs without waiting.
    tokio::task::yield_now().await;
    assert!(published.try_recv().is_err());
    fs::write(&path, three.replace("three", "trois")).unwrap();
    let news = tokio::time::timeout(Duration::from_secs(10), published.recv()).await;
    assert_eq!(codes(&news.expect("in time").expect("open")), [(3, "trois")]);
    refresher.abort();
}
