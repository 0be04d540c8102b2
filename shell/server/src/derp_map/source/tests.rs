//! Maps from a server on loopback that can be told what to answer.

use std::fs;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

const ONE: &str = r#"{"Regions":{"1":{"RegionID":1,"RegionCode":"one","Nodes":[{"Name":"1a","HostName":"a.example"}]},"2":{"RegionCode":"two"}}}"#;

/// An HTTP server whose answer (status line and body) can be changed.
async fn server(answer: &str) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/map", listener.local_addr().unwrap());
    let answer = Arc::new(Mutex::new(answer.to_owned()));
    let shared = answer.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let body = shared.lock().unwrap().clone();
            let status = if body.is_empty() { "503 Service Unavailable" } else { "200 OK" };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    (url, answer)
}

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

/// A URL that nobody serves.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/map", listener.local_addr().unwrap())
}

#[tokio::test]
async fn sources_are_merged_in_order_and_the_embedded_relay_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _) = server(ONE).await;
    let path = dir.path().join("derp.yaml");
    fs::write(&path, "regions: {2: , 3: {regioncode: three}, 999: {regioncode: other}}").unwrap();
    let mut settings = settings(&[&url], &[path], dir.path().join("cache.json"));
    let relay = crate::config::Settings::embedded(dir.path(), &crate::config::Env::new())
        .unwrap_or_else(|error| panic!("{error}"))
        .derp
        .server;
    settings.server = relay.clone();
    let own = DerpRegion { region_id: 999, region_code: "own".into(), ..DerpRegion::default() };
    let mut source = MapSource::new(settings.clone(), Some(own.clone()));
    assert_eq!(codes(&source.local().unwrap()), [(3, "three"), (999, "own")]);
    let (map, faults) = source.refresh().await;
    assert_eq!((codes(&map), faults), (vec![(1, "one"), (3, "three"), (999, "own")], Vec::new()));
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
    let no_region = "it is not a DERP map: it names no region";
    for (bad, why) in [
        ("", "the server answered 503 Service Unavailable"),
        ("<html>", "it is not a DERP map: "),
        (r#"{"message":"rate limited"}"#, no_region),
        (r#"{"Regions":null}"#, no_region),
        (r#"{"Regions":{}}"#, no_region),
    ] {
        bad.clone_into(&mut answer.lock().unwrap());
        let (map, faults) = source.refresh().await;
        assert_eq!(codes(&map), [(1, "one"), (2, "two")]);
        assert!(faults[0].starts_with(&format!("cannot fetch the DERP map `{url}`: {why}")), "{faults:?}");
        assert!(faults[0].ends_with("; its last good map stays"), "{faults:?}");
    }
    answer.lock().unwrap().clone_from(&"x".repeat(MAX_MAP_BYTES + 1));
    assert!(source.refresh().await.1[0].contains("it is larger than 4194304 bytes"));

    let mut restarted = MapSource::new(settings(&[&url], &[], cache.clone()), None);
    assert_eq!(codes(&restarted.local().unwrap()), [(1, "one"), (2, "two")]);
    let other = nobody().await;
    let mut elsewhere = MapSource::new(settings(&[&other], &[], cache.clone()), None);
    assert_eq!(codes(&elsewhere.local().unwrap()), []);
    fs::write(&cache, "damaged").unwrap();
    assert_eq!(codes(&MapSource::new(settings(&[&url], &[], cache), None).local().unwrap()), []);
}

#[tokio::test]
async fn nobody_there_is_a_fault_and_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let url = nobody().await;
    let missing = dir.path().join("none.yaml");
    let mut source = MapSource::new(settings(&[&url], &[], dir.path().join("cache.json")), None);
    assert_eq!(source.local().unwrap(), DerpMap::default());
    let (map, faults) = source.refresh().await;
    assert_eq!((map, faults.len()), (DerpMap::default(), 1));
    assert!(faults[0].ends_with("; there is no earlier one"), "{faults:?}");
    let mut source = MapSource::new(settings(&[], &[missing], dir.path().join("cache.json")), None);
    assert!(source.local().unwrap_err().starts_with("cannot read the DERP map `"));
}

#[tokio::test]
async fn changes_are_published_once_also_after_failures() {
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
async fn without_automatic_updates_one_good_round_is_enough() {
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
        .expect("it ends");
    assert_eq!(published.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_map_file_that_loses_its_relays_takes_none_away() {
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
    // Its first round waits for nobody.
    tokio::task::yield_now().await;
    assert!(published.try_recv().is_err());
    fs::write(&path, three.replace("three", "trois")).unwrap();
    let news = tokio::time::timeout(Duration::from_secs(10), published.recv()).await;
    assert_eq!(codes(&news.expect("in time").expect("open")), [(3, "trois")]);
    refresher.abort();
}
