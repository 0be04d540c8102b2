//! What the official service sent to nodes for several hundred policies, compared with what the engine says. The data lies
//! next to the repository; without it the test says so and passes, except under CI.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Caps that other settings than the policy decide.
const NOT_POLICY: [&str; 14] = [
    "https://tailscale.com/cap/is-admin",
    "https://tailscale.com/cap/is-owner",
    "https://tailscale.com/cap/tailnet-lock",
    "is-admin",
    "is-owner",
    "tailnet-lock",
    "service-host",
    "store-appc-routes",
    "warn-funnel-no-https",
    "tailnet-display-name",
    "native-ipv4",
    "probe-udp-lifetime",
    "ssh-behavior-v1",
    "ssh-env-vars",
];

#[test]
fn answers_like_the_official_service() {
    let Some(dir) = captures() else { return };
    let (mut total, mut wrong) = (0, Vec::new());
    for (case, question) in questions(&dir, &files(&dir.join("cases"))) {
        let answer = headsail_policy::eval::answer(&question.to_string());
        let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        total += 1;
        if let Some(difference) = compare(&case, &answer, !raced(&case)) {
            wrong.push(format!("{}: {difference}", case["id"].as_str().unwrap_or_default()));
        }
    }
    assert!(total > 0, "no captures in {}", dir.display());
    assert!(wrong.is_empty(), "{} of {total} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn captures() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("HEADSAIL_SHARED").map_or(beside, PathBuf::from);
    let dir = shared.join("policy-captures");
    if !dir.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no captures at {}", dir.display());
        println!("skipped: no captures at {}", dir.display());
        return None;
    }
    Some(dir)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let inside = |d: PathBuf| std::fs::read_dir(d).into_iter().flatten().flatten().map(|e| e.path());
    let mut all: Vec<PathBuf> = inside(dir.to_path_buf())
        .flat_map(inside)
        .filter(|f| f.extension().is_some_and(|e| e == "json"))
        .collect();
    all.sort();
    all
}

/// The cases, each with what the engine is told of it: everything but the answer. The scorer knows the people of the
/// captured tailnet; it is asked instead of read.
fn questions(dir: &Path, files: &[PathBuf]) -> Vec<(Value, Value)> {
    let ask = "import json, sys; sys.path.insert(0, sys.argv[1]); import score\n\
               for f in sys.stdin: c = json.load(open(f.strip())); print(json.dumps([c, score.given(c)]))";
    let mut python = Command::new("python3");
    python.args(["-B", "-c", ask]).arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().expect("python3, which the scorer needs");
    let mut names = python.stdin.take().expect("a pipe");
    let list: String = files.iter().map(|f| format!("{}\n", f.display())).collect();
    let writer = std::thread::spawn(move || names.write_all(list.as_bytes()));
    let said = python.wait_with_output().expect("the output of the scorer");
    writer.join().expect("no panic").expect("the scorer reads all names");
    assert!(said.status.success(), "the scorer ends with {}", said.status);
    let text = String::from_utf8(said.stdout).expect("JSON is UTF-8");
    let pair = |line: &str| -> (Value, Value) {
        let (case, mut question): (Value, Value) =
            serde_json::from_str(line).expect("a case and its question");
        question["nodes"] = ordered_nodes(&case);
        (case, question)
    };
    text.lines().map(pair).collect()
}

/// Nodes whose routes the service elected go first: the captures list nodes by name, while elections follow the order in
/// which the nodes were registered, which only the answers tell.
fn ordered_nodes(case: &Value) -> Value {
    let nodes = case["nodes"].as_object().cloned().unwrap_or_default();
    let elected =
        |name: &str| case["want"][name]["self"]["primary"].as_array().is_some_and(|p| !p.is_empty());
    let (first, rest): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|(name, _)| elected(name));
    Value::Object(first.into_iter().chain(rest).collect())
}

/// Whether a route was approved while the nodes were captured: a node without approved routes serves one for somebody.
fn raced(case: &Value) -> bool {
    let serves = |v: &Value| v["primary"].as_array().is_some_and(|p| !p.is_empty());
    let nodes = case["nodes"].as_object().into_iter().flatten();
    let without = nodes.filter(|(_, n)| n["approved_routes"].as_array().is_none_or(Vec::is_empty));
    let wants = || case["want"].as_object().into_iter().flatten().map(|(_, w)| w);
    without
        .into_iter()
        .any(|(name, _)| serves(&case["want"][name]["self"]) || wants().any(|w| serves(&w["peers"][name])))
}

/// Whether a refusal says what the service said. Where the service names a domain that is not in the policy (the data was
/// made anonymous, its message was not), being refused for the domain is enough.
fn same_refusal(case: &Value, error: &str) -> bool {
    let message = case["message"].as_str().unwrap_or_default();
    let foreign = message.split_once(' ').filter(|(domain, rest)| {
        rest.starts_with("is not associated")
            && !case["policy"].as_str().unwrap_or_default().contains(*domain)
    });
    case["kind"] == "nodeattrs" || error.contains(foreign.map_or(message, |(_, rest)| rest))
}

fn compare(case: &Value, got: &Value, peers_known: bool) -> Option<String> {
    let kind = case["kind"].as_str().unwrap_or_default();
    let error = got["error"].as_str();
    if case["error"] == true || case["code"] != 200 {
        let same = error.is_some_and(|e| same_refusal(case, e));
        return (!same).then(|| format!("refused as {error:?}, the service said {}", case["message"]));
    }
    if let Some(error) = error {
        return Some(format!("refused as {error:?}; the service accepted it"));
    }
    for (name, want) in case["want"].as_object()? {
        if let Some(d) = compare_node(kind, want, &got["nodes"][name], peers_known) {
            return Some(format!("{name}: {d}"));
        }
    }
    if case["dir"] == "routes_results" {
        for (name, node) in case["nodes"].as_object()? {
            for route in node["routable_ips"].as_array().into_iter().flatten() {
                let approved = node["approved_routes"].as_array().is_some_and(|a| a.contains(route));
                let can = &got["nodes"][name]["can_approve"][route.as_str().unwrap_or_default()];
                if can.as_bool() != Some(approved) {
                    return Some(format!("{name}: approval of {route}: got {can}"));
                }
            }
        }
    }
    None
}

fn compare_node(kind: &str, want: &Value, have: &Value, peers_known: bool) -> Option<String> {
    let differ = |what: &str, w: Vec<String>, h: Vec<String>| {
        (w != h).then(|| format!("{what}: want {w:?} got {h:?}"))
    };
    let rules = |v: &Value| v["rules"].as_array().into_iter().flatten().map(rule).collect::<Vec<_>>();
    if let Some(d) = differ("rules", rules(want), rules(have)) {
        return Some(d);
    }
    if kind.starts_with("ssh") {
        let rules = |v: &Value| v["ssh"].as_array().into_iter().flatten().map(ssh).collect::<Vec<_>>();
        if let Some(d) = differ("ssh", rules(want), rules(have)) {
            return Some(d);
        }
    }
    let told = kind == "nodeattrs" && want["self"].is_object();
    let own = |v: &Value| if told { caps(&v["self"]["capmap"]) } else { Vec::new() };
    if let Some(d) = differ("caps", own(want), own(have)) {
        return Some(d);
    }
    let (true, Some(peers)) = (peers_known, want["peers"].as_object()) else { return None };
    let names =
        |v: &Value| v.as_object().into_iter().flatten().map(|(n, _)| n.clone()).collect::<BTreeSet<_>>();
    if let Some(d) = differ(
        "peers",
        names(&want["peers"]).into_iter().collect(),
        names(&have["peers"]).into_iter().collect(),
    ) {
        return Some(d);
    }
    for (name, w) in peers {
        let h = &have["peers"][name];
        let words =
            |v: &Value| v.as_array().into_iter().flatten().map(Value::to_string).collect::<BTreeSet<_>>();
        let same = ["allowed_ips", "primary"].iter().all(|k| words(&w[*k]) == words(&h[*k]));
        if !same || (kind == "nodeattrs" && caps(&w["capmap"]) != caps(&h["capmap"])) {
            return Some(format!("peer {name}: want {w} got {h}"));
        }
    }
    None
}

fn sorted(v: &Value) -> Vec<String> {
    let mut words: Vec<String> = v.as_array().into_iter().flatten().map(Value::to_string).collect();
    words.sort();
    words
}

fn rule(r: &Value) -> String {
    let grant = |g: &Value| {
        format!("{:?} {:?} {:?}", sorted(&g["Dsts"]), caps_exact(&g["CapMap"]), sorted(&g["Caps"]))
    };
    let grants: Vec<String> = r["CapGrant"].as_array().into_iter().flatten().map(grant).collect();
    let ports: BTreeSet<String> = r["DstPorts"].as_array().into_iter().flatten().map(port).collect();
    let count = r["DstPorts"].as_array().map_or(0, Vec::len);
    format!("{:?} {count} {ports:?} {:?} {grants:?}", sorted(&r["SrcIPs"]), sorted(&r["IPProto"]))
}

fn port(p: &Value) -> String {
    format!("{} {}-{}", p["IP"], p["Ports"]["First"], p["Ports"]["Last"])
}

fn caps_exact(m: &Value) -> Vec<String> {
    let mut out: Vec<String> =
        m.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", canonical(v))).collect();
    out.sort();
    out
}

fn caps(m: &Value) -> Vec<String> {
    let other = |k: &str| NOT_POLICY.contains(&k) || k.starts_with("https://tailscale.com/cap/funnel-ports?");
    let name = |c: &str| c.rsplit_once('=').map_or(c.to_string(), |(name, _)| name.to_string());
    caps_exact(m).into_iter().filter(|c| !other(&name(c))).collect()
}

/// JSON with sorted names; an absent list is an empty one.
fn canonical(v: &Value) -> String {
    match v {
        Value::Null => "[]".into(),
        Value::Object(o) => {
            let mut fields: Vec<String> = o.iter().map(|(k, v)| format!("{k:?}:{}", canonical(v))).collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(a) => format!("[{}]", a.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn ssh(r: &Value) -> String {
    let action: BTreeSet<String> =
        r["action"].as_object().into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
    format!(
        "{:?} {} {action:?} {}",
        sorted(&r["principals"]),
        canonical(&r["sshUsers"]),
        canonical(&r["acceptEnv"])
    )
}
