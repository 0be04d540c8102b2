use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::model::key::{ApiKey, KeyDigest};
use headsail_tailnet::model::node::{Contact, Expiry, Node, Owner, Presence, RegisterMethod, StreamNo};
use headsail_tailnet::model::policy::PolicyRow;
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::model::user::User;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{ApiKeyId, NodeId, UserId};
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;

use super::*;
use crate::history::{HIDDEN_KINDS, Query, Record};

const NOW: Time = Time::from_secs(1_700_000_000);

fn user(id: u64) -> Change {
    Change::User(Arc::new(User {
        id: UserId::new(id).unwrap(),
        name: format!("user{id}"),
        display_name: String::new(),
        email: String::new(),
        provider: String::new(),
        provider_id: String::new(),
        picture_url: String::new(),
        role: Default::default(),
        created: NOW,
    }))
}

fn with_role(change: Change, role: &str) -> Change {
    let Change::User(user) = change else { panic!("{change:?}") };
    Change::User(Arc::new(User { role: role.parse().unwrap(), ..User::clone(&user) }))
}

fn node(id: u64, owner: u64) -> Change {
    let hostinfo = Hostinfo {
        hostname: format!("host{id}"),
        os: "linux".into(),
        os_version: "6.1.0-28-amd64".into(),
        backend_log_id: "f".repeat(64),
        go_version: "go1.25.4".into(),
        ..Hostinfo::default()
    };
    Change::Node(Arc::new(Node {
        id: NodeId::new(id).unwrap(),
        machine_key: MachineKey::from_bytes([id.to_le_bytes()[0]; 32]),
        node_key: NodeKey::from_bytes(std::array::from_fn(|at| id.to_le_bytes()[at % 8])),
        owner: Owner::User(UserId::new(owner).unwrap()),
        hostname: hostinfo.hostname.clone(),
        name: format!("host{id}"),
        name_pinned: false,
        v4: Some([100, 64, id.to_be_bytes()[6], id.to_be_bytes()[7]].into()),
        v6: Some([0xfd7a, 0, 0, 0, 0, 0, 0, u16::try_from(id).unwrap()].into()),
        hostinfo: Arc::new(hostinfo),
        cap: CapVer::FLOOR,
        contact: Contact { endpoints: vec![([192, 0, 2, 1], 41641).into()], ..Contact::default() },
        presence: Presence::Offline { since: NOW },
        expiry: Expiry::Never,
        ephemeral: false,
        method: RegisterMethod::Cli,
        auth_key: None,
        approved_routes: BTreeSet::new(),
        created: NOW,
    }))
}

fn presence(id: u64) -> Change {
    Change::Presence(NodeId::new(id).unwrap(), Presence::Online { since: NOW, stream: StreamNo(id) })
}

/// A store in a temporary directory, and its revision.
struct Database {
    store: SqliteStore,
    revision: Revision,
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Database {
    fn with(options: Options) -> Database {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headsail.db");
        Database {
            store: SqliteStore::open(&path, options).unwrap(),
            revision: Revision::default(),
            path,
            dir,
        }
    }

    fn new() -> Database {
        Database::with(Options::default())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Fault> {
        self.commit_as(Actor::UnixUser(1000), NOW, changes)
    }

    fn commit_as(&mut self, actor: Actor, at: Time, changes: &[Change]) -> Result<(), Fault> {
        let commit = Commit::on(self.revision, at, vec![(actor, changes.to_vec())]);
        self.store.commit(&commit)?;
        self.revision = commit.revision;
        Ok(())
    }

    /// The whole change log, newest first, including the kinds that are hidden by default.
    fn log(&self) -> Vec<Record> {
        let read = |kinds: &[&str]| {
            let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
            self.store.history().read(&Query { kinds, limit: 1000, ..Query::default() }).unwrap()
        };
        let mut all = [read(&[]), read(&HIDDEN_KINDS)].concat();
        all.sort_by_key(|record| std::cmp::Reverse(record.id));
        all
    }

    fn revisions(&self) -> Vec<u64> {
        self.log().iter().map(|record| record.revision.0).collect()
    }

    /// Closes the store and returns the path of its file.
    fn close(self) -> (PathBuf, tempfile::TempDir) {
        (self.path, self.dir)
    }
}

fn open(path: &Path) -> Result<SqliteStore, Fault> {
    SqliteStore::open(path, Options::default())
}

fn refusal(path: &Path) -> String {
    match open(path) {
        Err(Fault::Other(text)) => text,
        Err(other) => panic!("a different fault: {other:?}"),
        Ok(_) => panic!("the database was opened"),
    }
}

#[test]
fn a_commit_happens_as_a_whole_or_not_at_all() {
    let mut db = Database::new();
    db.commit(&[user(1)]).unwrap();
    let before = db.store.load().unwrap();
    // The second node has no owner, which SQLite notices only at the end of the transaction.
    assert!(matches!(db.commit(&[user(2), node(1, 1), node(2, 77)]), Err(Fault::Other(_))));
    assert_eq!(db.store.load().unwrap(), before);
    assert_eq!(db.log().len(), 1);
    db.commit(&[node(1, 2), user(2)]).expect("the order within a commit does not matter");
    assert_eq!(db.store.load().unwrap().revision, Revision(2));
}

#[test]
fn a_commit_on_another_revision_is_a_conflict() {
    let mut db = Database::new();
    db.commit(&[user(1)]).unwrap();
    db.revision = Revision(0);
    let conflict = db.commit(&[user(2)]).unwrap_err();
    assert_eq!(conflict, Fault::Conflict { commit: Revision(1), stored: Revision(1) });
    assert_eq!(db.store.load().unwrap().changes.iter().filter(|c| matches!(c, Change::User(_))).count(), 1);
}

#[test]
fn a_commit_of_memory_only_changes_does_not_touch_the_disk() {
    let mut db = Database::new();
    db.revision = Revision(42);
    db.commit(&[Change::Settings(Arc::new(Settings::basic())), Change::TicketGone("x".into())]).unwrap();
    assert_eq!(db.revision, Revision(42));
    assert_eq!(db.store.load().unwrap().revision, Revision(0));
}

#[test]
fn revisions_continue_after_a_restart() {
    let mut db = Database::new();
    db.commit(&[user(1)]).unwrap();
    db.commit(&[node(1, 1)]).unwrap();
    let loaded = db.store.load().unwrap();
    let (path, _dir) = db.close();
    assert_eq!(open(&path).unwrap().load().unwrap(), loaded);
    assert_eq!(loaded.revision, Revision(2));
}

#[test]
fn a_second_server_is_refused_under_any_name_of_the_file() {
    let db = Database::new();
    let link = db.dir.path().join("link.db");
    std::os::unix::fs::symlink(&db.path, &link).unwrap();
    for path in [&db.path, &link] {
        let text = refusal(path);
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    }
    let (path, _dir) = db.close();
    open(&path).unwrap();
}

#[test]
fn a_locked_database_is_busy_and_recovers() {
    let mut db = Database::new();
    db.commit(&[user(1)]).unwrap();
    let other = Connection::open(&db.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    assert_eq!(db.commit(&[user(2)]), Err(Fault::Busy(db.path.clone())));
    assert!(began.elapsed() >= PATIENCE / 2, "it waits for a while");
    assert_eq!(db.store.ping(), Err(Fault::Busy(db.path.clone())));
    assert_eq!(db.store.load().unwrap().revision, Revision(1));
    other.execute_batch("ROLLBACK").unwrap();
    db.store.ping().unwrap();
    db.commit(&[user(2)]).unwrap();
    assert_eq!(db.store.load().unwrap().revision, Revision(2));
}

#[test]
fn a_full_disk_loses_nothing_and_recovers() {
    let mut db = Database::new();
    db.commit(&[user(1)]).unwrap();
    let pages: i64 = db.store.connection.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    let limit = |db: &Database, pages: i64| {
        db.store.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit(&db, pages + 2);
    let many: Vec<Change> = (1..200).map(|id| node(id, 1)).collect();
    let before = db.store.load().unwrap();
    assert_eq!(db.commit(&many), Err(Fault::Full(db.path.clone())));
    assert_eq!(db.store.load().unwrap(), before);
    db.commit(&[user(2)]).expect("a commit that fits succeeds");
    limit(&db, pages + 1000);
    db.commit(&many).unwrap();
    let (path, _dir) = db.close();
    assert_eq!(open(&path).unwrap().load().unwrap().changes.len(), 2 + 199 + 4);
}

#[test]
fn the_files_are_private() {
    let mut db = Database::new();
    db.commit(&[user(1)]).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(db.dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    assert_eq!(seen, 4, "database, write-ahead log, its index, lock");
}

#[test]
fn a_foreign_or_damaged_file_is_rejected_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = dir.path().join("garbage.db");
    fs::write(&garbage, "not a database at all ".repeat(500)).unwrap();
    let headscale = dir.path().join("headscale.db");
    let made = Connection::open(&headscale).unwrap();
    made.execute_batch("CREATE TABLE nodes (id); CREATE TABLE pre_auth_keys (id)").unwrap();
    drop(made);
    for (path, says) in [(garbage, "damaged or not an SQLite database"), (headscale, "belongs to Headscale")]
    {
        let before = fs::read(&path).unwrap();
        let text = refusal(&path);
        assert!(text.contains(says) && text.contains("was left unchanged"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(!path.with_extension("db-wal").exists());
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let mut db = Database::new();
    db.commit(&[user(1)]).unwrap();
    let newer = "INSERT INTO schema_migrations (version, name, checksum) VALUES (4, 'x', 'y')";
    db.store.connection.execute(newer, []).unwrap();
    let (path, _dir) = db.close();
    let before = fs::read(&path).unwrap();
    let text = refusal(&path);
    assert!(text.contains("newer release (format 4, this one supports 3)"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let text = check(&path).unwrap_err().to_string();
    assert!(text.contains("newer release"), "{text}");
}

#[test]
fn a_database_with_a_different_schema_is_rejected() {
    let db = Database::new();
    db.store.connection.execute("UPDATE schema_migrations SET checksum = 'x'", []).unwrap();
    let (path, _dir) = db.close();
    let text = refusal(&path);
    assert!(text.contains("different schema than this release (format 1, `ground`)"), "{text}");
}

#[test]
fn damage_is_found_when_a_database_is_opened() {
    let mut db = Database::new();
    let many: Vec<Change> = [user(1)].into_iter().chain((1..500).map(|id| node(id, 1))).collect();
    db.commit(&many).unwrap();
    let (path, _dir) = db.close();
    check(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    bytes[pages / 2 * 4096..][..4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let text = refusal(&path);
    assert!(text.contains("damaged") && text.contains("restore a backup"), "{text}");
    // A large one is checked while the server works already.
    let large = Options { checked_at_open: 0, ..Options::default() };
    let found = SqliteStore::open(&path, large).and_then(|store| store.deferred_check().unwrap()());
    assert!(found.unwrap_err().to_string().contains("damaged"));
    assert!(check(&path).is_err());
}

#[test]
fn an_unreadable_row_is_named() {
    let mut db = Database::new();
    db.commit(&[user(1), node(7, 1)]).unwrap();
    for (column, value) in
        [("node_key", "nodekey:xyz"), ("host_info", "{"), ("register_method", "magic"), ("ipv4", "::1")]
    {
        let set = format!("UPDATE nodes SET {column} = ?1");
        let was: String =
            db.store.connection.query_row(&format!("SELECT {column} FROM nodes"), [], |r| r.get(0)).unwrap();
        db.store.connection.execute(&set, [value]).unwrap();
        let text = db.store.load().unwrap_err().to_string();
        assert!(text.contains("`7` of table `nodes`") && text.contains(column), "{text}");
        db.store.connection.execute(&set, [was]).unwrap();
    }
    db.store.load().unwrap();
}

#[test]
fn roles_are_stored_logged_and_validated() {
    let mut db = Database::new();
    let (owner, member) = (with_role(user(1), "owner"), user(2));
    db.commit(&[owner.clone(), member.clone()]).unwrap();
    let roles: Vec<_> = db.log().iter().map(|record| record.row["role"].clone()).collect();
    assert_eq!(roles, ["member", "owner"]);
    let loaded = db.store.load().unwrap().changes;
    let users: Vec<Change> = loaded.into_iter().filter(|c| matches!(c, Change::User(_))).collect();
    assert_eq!(users, [owner, member]);
    db.store.connection.execute("UPDATE users SET role = 'boss' WHERE id = 2", []).unwrap();
    let text = db.store.load().unwrap_err().to_string();
    assert!(text.contains("`2` of table `users`") && text.contains("`boss` is not a role"), "{text}");
}

#[test]
fn a_backup_of_a_running_server_is_consistent() {
    let mut db = Database::new();
    db.commit(&[user(1), node(1, 1)]).unwrap();
    let loaded = db.store.load().unwrap();
    let to = db.dir.path().join("copy.db");
    backup(&db.path, &to).unwrap();
    db.commit(&[node(2, 1)]).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let text = backup(&db.path, &to).unwrap_err().to_string();
    assert!(text.contains("already exists"), "{text}");
    check(&to).unwrap();
    assert_eq!(open(&to).unwrap().load().unwrap(), loaded);
    assert!(refusal(&db.path).contains("in use by another server"), "the lock is still held");
}

#[test]
fn a_failed_backup_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("copy.db");
    assert!(backup(&dir.path().join("none.db"), &to).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_log_says_who_did_what_and_no_secrets() {
    let mut db = Database::new();
    let key = ApiKey {
        id: ApiKeyId::new(1).unwrap(),
        prefix: "abcdefghijkl".into(),
        digest: KeyDigest::from_bytes([0xab; 32]),
        expiration: None,
        created: NOW,
        last_seen: None,
    };
    db.commit(&[user(1), node(1, 1)]).unwrap();
    db.commit(&[Change::ApiKey(Arc::new(key)), Change::NodeGone(NodeId::new(1).unwrap())]).unwrap();
    let log = db.log();
    let [deleted, key, ..] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!((deleted.revision, deleted.at), (Revision(2), NOW));
    assert_eq!((deleted.kind.as_str(), deleted.node), ("node-deleted", NodeId::new(1)));
    assert_eq!(deleted.before.as_ref().unwrap()["given_name"], "host1");
    assert_eq!((key.kind.as_str(), key.actor.clone()), ("apikey", Actor::UnixUser(1000)));
    assert_eq!((key.row["prefix"].as_str(), key.row.get("hash")), (Some("abcdefghijkl"), None));
}

#[test]
fn the_log_is_filtered_by_actor_subject_kind_and_time() {
    let mut db = Database::new();
    let clerk = |db: &mut Database, actor, secs, changes: &[Change]| {
        db.commit_as(actor, NOW.plus_secs(secs), changes).unwrap();
    };
    clerk(&mut db, Actor::UnixUser(0), 0, &[user(1), user(2)]);
    clerk(&mut db, Actor::ApiKey(ApiKeyId::new(3).unwrap()), 10, &[node(1, 1), node(2, 2)]);
    clerk(&mut db, Actor::Node(NodeId::new(2).unwrap()), 20, &[presence(2)]);
    clerk(&mut db, Actor::Clock, 30, &[Change::NodeGone(NodeId::new(2).unwrap())]);
    let read = |query: Query| {
        let records = db.store.history().read(&query).unwrap();
        records.into_iter().map(|r| format!("{} {}", r.kind, r.subject)).collect::<Vec<_>>()
    };
    let all = || Query::default();
    assert_eq!(read(all()), ["node-deleted 2", "node 2", "node 1", "user 2", "user 1"]);
    assert_eq!(read(Query { limit: 2, ..all() }), ["node-deleted 2", "node 2"]);
    let actor = |text: &str| Query { actor: Some(text.into()), ..all() };
    assert_eq!(read(actor("api-key")), ["node 2", "node 1"]);
    assert_eq!(read(actor("api-key:3")), ["node 2", "node 1"]);
    assert_eq!(read(actor("api-key:33")), [""; 0]);
    assert_eq!(read(actor("unix:0")), ["user 2", "user 1"]);
    let kinds = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(read(Query { kinds: kinds(&["user"]), ..all() }), ["user 2", "user 1"]);
    assert_eq!(read(Query { kinds: kinds(&["node"]), ..all() }), ["node-deleted 2", "node 2", "node 1"]);
    let node = Query { node: NodeId::new(2), kinds: kinds(&["node", "presence"]), ..all() };
    assert_eq!(read(node), ["node-deleted 2", "presence 2", "node 2"]);
    assert_eq!(read(Query { user: UserId::new(1), ..all() }), ["node 1", "user 1"]);
    assert_eq!(read(Query { since: Some(NOW.plus_secs(15)), ..all() }), ["node-deleted 2"]);
    let first = db.store.history().read(&Query { limit: 1, oldest_first: true, ..all() }).unwrap();
    let later = Query { after: Some(first[0].id), oldest_first: true, limit: 2, ..all() };
    assert_eq!(read(later), ["user 2", "node 1"]);
}

#[test]
fn replaying_the_log_gives_the_rows_of_the_tables() {
    let mut db = Database::new();
    let settings = Arc::new(Settings::basic());
    db.commit(&[user(1), user(2), policy("{} // first", 0)]).unwrap();
    let mut follower = Tailnet::of(settings.clone(), &db.store.load().unwrap());
    let admin = Actor::ApiKey(ApiKeyId::new(1).unwrap());
    db.commit_as(admin.clone(), NOW, &[node(1, 1), policy("{} // second", 1)]).unwrap();
    db.commit_as(Actor::Node(NodeId::new(1).unwrap()), NOW, &[presence(1)]).unwrap();
    db.commit(&[Change::UserGone(UserId::new(2).unwrap()), Change::NextId(Sequence::Users, 9)]).unwrap();
    let Since::Commits(commits) = db.store.since(Revision(1)).unwrap() else {
        panic!("the log goes back far enough")
    };
    let actors: Vec<String> = commits.iter().flat_map(|c| &c.entries).map(|(a, _)| a.to_string()).collect();
    assert_eq!(actors, [admin.to_string(), "node:1".into(), "unix:1000".into()]);
    follower.catch_up(&Since::Commits(commits));
    let loaded = Tailnet::of(settings, &db.store.load().unwrap());
    assert_eq!((follower.revision(), follower.dump()), (Revision(4), loaded.dump()));
    assert_eq!(db.store.since(Revision(4)).unwrap(), Since::Commits(Vec::new()));
    let rows = Since::Rows(db.store.load().unwrap());
    assert_eq!(db.store.since(Revision(5)).unwrap(), rows, "the database was replaced by an older one");
    db.store.connection.execute("DELETE FROM policies WHERE data LIKE '%first'", []).unwrap();
    assert_eq!(db.store.since(Revision(0)).unwrap(), rows, "the text of a policy was deleted");
}

#[test]
fn the_log_is_bounded_and_clients_displace_no_administrator() {
    let keep = |rows| Keep { rows, days: 1000 };
    let log = LogLimits { admin: keep(5), routine: keep(4), volatile: keep(3), every: 4 };
    let mut db = Database::with(Options { log, ..Options::default() });
    db.commit(&[user(1), node(1, 1)]).unwrap();
    db.commit(&[user(2)]).unwrap();
    for _ in 0..50 {
        db.commit(&[presence(1)]).unwrap();
    }
    assert_eq!(db.revisions(), [52, 51, 50, 2, 1, 1]);
    for _ in 0..20 {
        db.commit_as(Actor::Node(NodeId::new(1).unwrap()), NOW, &[node(1, 1)]).unwrap();
    }
    assert_eq!(
        db.revisions(),
        [72, 71, 70, 69, 52, 51, 50, 2, 1, 1],
        "clients displace no entry of an administrator"
    );
    for id in 3..13 {
        db.commit(&[user(id)]).unwrap();
    }
    assert_eq!(db.revisions(), [82, 81, 80, 79, 78, 77, 76, 72, 71, 70, 69, 52, 51, 50]);
    assert!(matches!(db.store.since(Revision(74)), Ok(Since::Rows(_))), "75 is no longer in the log");
    assert!(matches!(db.store.since(Revision(75)), Ok(Since::Commits(commits)) if commits.len() == 7));
}

#[test]
fn old_entries_of_the_log_are_deleted() {
    let keep = Keep { rows: 1000, days: 2 };
    let log = LogLimits { admin: keep, routine: keep, volatile: keep, every: 1 };
    let mut db = Database::with(Options { log, ..Options::default() });
    for day in 0..5 {
        db.commit_as(Actor::Server, NOW.plus_secs(day * 24 * 3600), &[user(1 + day as u64)]).unwrap();
    }
    assert_eq!(db.revisions(), [5, 4, 3]);
}

fn policy(text: &str, at: i64) -> Change {
    let row = PolicyRow::parse(text, &[], NOW.plus_secs(at), true);
    Change::Policy(Arc::new(row.unwrap_or_else(|refusal| panic!("{refusal}"))))
}

#[test]
fn a_policys_log_entry_refers_to_its_text() {
    let mut db = Database::new();
    let long = format!("{{}} // {}", "long ".repeat(100_000));
    db.commit(&[policy("{}", 0)]).unwrap();
    db.commit(&[policy(&long, 1)]).unwrap();
    let bytes: i64 = db
        .store
        .connection
        .query_row("SELECT max(length(fact)) FROM change_log", [], |row| row.get(0))
        .unwrap();
    assert!(bytes < 200, "{bytes} bytes");
    let newest = db.log().swap_remove(0);
    assert_eq!(newest.row["data"], *long);
    assert_eq!(newest.before.unwrap()["data"], "{}");
}

#[test]
fn the_error_for_an_unreadable_policy_suggests_the_release_that_wrote_it() {
    let mut db = Database::new();
    db.commit(&[policy("{}", 0)]).unwrap();
    db.store.connection.execute("UPDATE policies SET data = '{'", []).unwrap();
    let text = db.store.load().unwrap_err().to_string();
    assert!(text.contains("`1` of table `policies`: column `data`: "), "{text}");
    assert!(text.contains("start the release that wrote it"), "{text}");
}

#[test]
fn a_rollback_journal_works_too() {
    let mut db = Database::with(Options { write_ahead_log: false, ..Options::default() });
    db.commit(&[user(1)]).unwrap();
    assert!(!db.path.with_extension("db-wal").exists());
    let (path, _dir) = db.close();
    let mut store = open(&path).unwrap();
    assert_eq!(store.load().unwrap().revision, Revision(1));
}

#[test]
fn a_missing_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no/such/headsail.db");
    let text = refusal(&path);
    assert!(text.contains("no/such/headsail.db") && text.contains("create its directory"), "{text}");
}

/// Run by hand: `cargo test -p headsail-store measure -- --ignored --nocapture`.
#[test]
#[ignore = "prints times"]
fn measure() {
    let mut db = Database::new();
    let all: Vec<Change> = [user(1)].into_iter().chain((1..=10_000).map(|id| node(id, 1))).collect();
    let began = Instant::now();
    db.commit(&all).unwrap();
    println!("10,000 new rows in one commit: {:?}", began.elapsed());
    let began = Instant::now();
    for id in 1..=2000 {
        db.commit(&[node(id, 1)]).unwrap();
    }
    println!("one changed node row: {:?}", began.elapsed() / 2000);
    let began = Instant::now();
    for id in 1..=2000 {
        db.commit(&[presence(id)]).unwrap();
    }
    println!("one presence: {:?}", began.elapsed() / 2000);
    let began = Instant::now();
    for round in 0..10 {
        let batch: Vec<Change> = (1..=1000).map(|id| node(id + round * 1000, 1)).collect();
        db.commit(&batch).unwrap();
    }
    println!("1,000 changed node rows in one commit: {:?}", began.elapsed() / 10);
    let began = Instant::now();
    let rows = db.store.load().unwrap().changes.len();
    println!("load of {rows} rows: {:?}", began.elapsed());
    let began = Instant::now();
    backup(&db.path, &db.dir.path().join("copy.db")).unwrap();
    println!("backup: {:?}", began.elapsed());
}

#[test]
fn setting_the_same_policy_again_adds_no_row_and_old_policies_are_deleted() {
    let mut db = Database::new();
    let set = |db: &mut Database, text: &str, at: i64| db.commit(&[policy(text, at)]).unwrap();
    let rows = |db: &Database| -> i64 {
        db.store.connection.query_row("SELECT count(*) FROM policies", [], |row| row.get(0)).unwrap()
    };
    for second in 0..5 {
        set(&mut db, "{}", second);
    }
    assert_eq!(rows(&db), 1);
    for number in 0..100 {
        set(&mut db, &format!("{{}} // {number}"), number);
    }
    assert_eq!(rows(&db), 32);
    let (path, _dir) = db.close();
    let loaded = open(&path).unwrap().load().unwrap();
    let policies = loaded.changes.iter().filter_map(|change| {
        let Change::Policy(row) = change else { return None };
        Some((row.text().to_owned(), row.updated))
    });
    assert_eq!(policies.collect::<Vec<_>>(), [("{} // 99".to_owned(), NOW.plus_secs(99))]);
}
