//! Parsing of current and older command lines, and rendering of answers and failures.

use std::ffi::OsString;

use headsail_api::UserRef;
use headsail_api::v1::user::User;

use crate::args::{Cli, Command, format_of, program_name};
use crate::commands::apikeys::ApiKeysCommand;
use crate::commands::auth::AuthCommand;
use crate::commands::debug::DebugCommand;
use crate::commands::nodes::NodesCommand;
use crate::commands::policy::PolicyCommand;
use crate::commands::preauthkeys::PreAuthKeysCommand;
use crate::commands::routes::RoutesCommand;
use crate::commands::users::UsersCommand;
use crate::output::{Answer, Failure, Format};

/// The arguments of a command line; `''` is an empty argument.
fn argv(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(|w| OsString::from(if w == "''" { "" } else { w })).collect()
}

fn cli(line: &str) -> Cli {
    Cli::read(&argv(&format!("headsail {line}"))).unwrap_or_else(|e| panic!("`{line}`: {e}"))
}

fn refused(line: &str) -> String {
    Cli::read(&argv(&format!("headsail {line}")))
        .map_or_else(|e| e.to_string(), |c| panic!("`{line}` is read as {c:?}"))
}

fn name(n: &str) -> Option<UserRef> {
    Some(UserRef::Name(n.into()))
}

#[test]
fn the_command_definition_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn every_spelling_of_every_command_is_accepted() {
    let lines = "serve; configtest; health; version; generate private-key; gen private-key; completion bash; \
        completion zsh; completion fish; completion powershell; \
        users create a; user c a; users new a; users list; users ls; users show; users destroy -i 1; \
        users delete -n a; users role a admin; users set-role -i 1 owner; users rename -i 1 -r b; users mv -n a -r b; namespaces list; namespace create a; ns ls; \
        nodes list; node ls; nodes show; nodes list-routes; nodes lsr; nodes routes -i 1; nodes register -u a -k x; \
        nodes expire -i 1; nodes logout -i 1; nodes exp -i 1; nodes e -i 1; nodes rename -i 1 b; nodes delete -i 1; \
        nodes del -i 1; nodes tag -i 1 -t tag:a; nodes tags -i 1 -t tag:a; nodes t -i 1 -t tag:a; \
        nodes approve-routes -i 1 -r 10.0.0.0/8; nodes backfillips; nodes move -i 1 -u b; machines list; machine ls; \
        nodes list --tags; nodes list -t; \
        preauthkeys list; preauthkey ls; authkey show; pre create -u 1; preauthkeys c -u 1; preauthkeys new -u 1; \
        preauthkeys expire -i 1; preauthkeys revoke --id 1; preauthkeys exp -i 1; preauthkeys e -i 1; \
        preauthkeys delete -i 1; preauthkeys del -i 1; preauthkeys rm -i 1; preauthkeys d --id 1; \
        apikeys list; apikey ls; api show; apikeys create; apikeys c -e 30d; apikeys new --expiration 1w; \
        apikeys expire -p x; apikeys revoke -i 1; apikeys exp --prefix x; apikeys e --id 1; apikeys delete -p x; \
        apikeys remove -i 1; apikeys del -i 1; \
        auth register -u a --auth-id x; auth approve --auth-id x; auth reject --auth-id x; auth list; \
        policy get; policy show; policy view; policy fetch; policy set -f x; policy put --file x; policy update -f x; \
        policy check -f x; policy preview -f x; policy explain a b:22; policy explain a b:22 -f x; \
        policy get --bypass-server-and-access-database-directly; \
        policy set -f x --bypass-grpc-and-access-database-directly; \
        routes list; route ls; routes list -i 1; routes enable -r 1; routes enable --route 1; \
        routes enable --route-id 1; routes disable --route-id 1; routes delete -r 1; routes enable -i 1 -a; \
        routes enable -i 1 --all; routes enable -i 1 -r 10.0.0.0/8; \
        debug create-node --name a -u b -k c -r 10.0.0.0/8 -r 10.1.0.0/16; debug create-node -n ns --name a --key c; \
        debug policy-eval";
    for line in lines.split(';') {
        cli(line.trim());
    }
}

#[test]
fn global_flags_are_accepted_in_any_position() {
    for line in ["--config x serve", "serve --config x", "-c x serve", "serve -c=x", "serve -cx"] {
        let cli = cli(line);
        assert_eq!(cli.globals.config.as_deref(), Some("x".as_ref()), "{line}");
        assert!(matches!(cli.command, Command::Serve));
    }
    assert_eq!(cli("serve --data-dir /srv/x").globals.data_dir.as_deref(), Some("/srv/x".as_ref()));
    for line in ["-o json users list", "users -o json list", "users list --output=json", "users list -ojson"]
    {
        assert_eq!(cli(line).globals.output, Format::Json, "{line}");
    }
    assert_eq!(cli("users list -o yaml").globals.output, Format::Yaml);
    assert_eq!(cli("users list -o json-line").globals.output, Format::JsonLine);
    assert_eq!(cli("users list -o ''").globals.output, Format::Text);
    assert!(refused("users list -o xml").contains("`xml` is not an output format"));
    assert!(cli("nodes delete -i 1 --force").globals.force);
    assert!(cli("--force=true nodes delete -i 1").globals.force);
    assert!(!cli("nodes delete --force=false -i 1").globals.force);
}

#[test]
fn the_program_name_follows_argv() {
    for (program, name) in [
        ("headscale", "headscale"),
        ("/usr/bin/headscale", "headscale"),
        ("./headsail", "headsail"),
        ("/opt/renamed", "headsail"),
    ] {
        assert_eq!(program_name(&[program.into()]), name);
    }
    let help = Cli::read(&argv("/usr/bin/headscale help users")).unwrap_err().to_string();
    assert!(help.contains("headscale users"), "{help}");
}

fn users(line: &str) -> UsersCommand {
    match cli(line).command {
        Command::Users(args) => args.command,
        other => panic!("`{line}` is read as {other:?}"),
    }
}

#[test]
fn user_commands_accept_current_and_older_spellings() {
    match users("users create alice -d Alice -e a@example.com -p https://example.com/a.png") {
        UsersCommand::Create { name, display_name, email, picture_url } => assert_eq!(
            [name, display_name, email, picture_url],
            ["alice", "Alice", "a@example.com", "https://example.com/a.png"]
        ),
        other => panic!("{other:?}"),
    }
    assert!(refused("users create alice -p me.png").contains("is not the URL of a picture"));
    assert!(matches!(users("users destroy bob"), UsersCommand::Destroy { user, .. } if user == name("bob")));
    assert!(matches!(users("users destroy 7"), UsersCommand::Destroy { user: Some(UserRef::Id(7)), .. }));
    assert!(matches!(users("users delete --identifier 7"), UsersCommand::Destroy { who, .. }
        if who.identifier == Some(7)));
    assert!(
        matches!(users("users rename old new"), UsersCommand::Rename { words, .. } if words == ["old", "new"])
    );
    assert!(matches!(users("users rename -n old --new-name new"), UsersCommand::Rename { who, new_name, .. }
        if who.name.as_deref() == Some("old") && new_name.as_deref() == Some("new")));
    for (line, words) in [
        ("users role alice it-admin", vec!["alice", "it-admin"]),
        ("users set-role -i 7 it-admin", vec!["it-admin"]),
        ("users role --name alice it-admin", vec!["it-admin"]),
    ] {
        assert!(matches!(users(line), UsersCommand::Role { words: read, .. } if read == words), "{line}");
    }
    refused("users role");
    refused("users role -i 1");
    refused("users role alice admin owner");
    refused("users role -i 1 -n a admin");
    refused("users destroy bob -i 1");
    refused("users rename -i 1 -n a -r b");
    refused("users create");
}

fn nodes(line: &str) -> (Option<UserRef>, NodesCommand) {
    match cli(line).command {
        Command::Nodes(args) => (args.group_user, args.command),
        other => panic!("`{line}` is read as {other:?}"),
    }
}

#[test]
fn node_commands_accept_current_and_older_spellings() {
    for flag in ["-u bob", "--user bob", "-n bob", "--namespace bob", "--namespace=bob"] {
        assert_eq!(nodes(&format!("nodes {flag} list")).0, name("bob"), "{flag}");
        let NodesCommand::List { owner, .. } = nodes(&format!("nodes list {flag}")).1 else {
            panic!("{flag}")
        };
        assert_eq!(owner.user, name("bob"), "{flag}");
    }
    let (user, command) = nodes("nodes -n bob register --key nodekey:abc");
    assert_eq!(user, name("bob"));
    assert!(matches!(command, NodesCommand::Register { key: Some(k), .. } if k == "nodekey:abc"));
    let (_, command) = nodes("nodes register abc -n bob");
    assert!(matches!(command, NodesCommand::Register { word: Some(w), owner, .. }
        if w == "abc" && owner.user == name("bob")));
    refused("nodes register -u bob");

    let (_, command) = nodes("nodes expire -i 3 -e 2026-01-31T12:00:00+02:00");
    assert!(matches!(command, NodesCommand::Expire { expiry: Some(at), disable: false, .. }
        if at.to_string() == "2026-01-31T10:00:00Z"));
    for line in
        ["nodes expire -i 3 -d", "nodes expire --identifier 3 --disable", "nodes exp -i 3 --disable=true"]
    {
        assert!(matches!(nodes(line).1, NodesCommand::Expire { disable: true, expiry: None, .. }), "{line}");
    }
    refused("nodes expire -i 3 -d -e 2026-01-31T12:00:00Z");
    refused("nodes expire");

    let (_, command) = nodes("nodes tag --identifier 4 --tags tag:router");
    assert!(
        matches!(command, NodesCommand::Tag { which, tags } if which.identifier == "4" && tags == ["tag:router"])
    );
    let (_, command) = nodes("nodes tag -i web -t tag:a,tag:b -t tag:c");
    assert!(matches!(command, NodesCommand::Tag { tags, .. } if tags == ["tag:a", "tag:b", "tag:c"]));
    refused("nodes tag -i 1");
    let (_, command) = nodes("nodes approve-routes -i 1 -r ''");
    assert!(matches!(command, NodesCommand::ApproveRoutes { routes, .. } if routes == [""]));
    let (_, command) = nodes("nodes approve-routes --identifier 1 --routes 10.0.0.0/8,::/0");
    assert!(
        matches!(command, NodesCommand::ApproveRoutes { routes, .. } if routes == ["10.0.0.0/8", "::/0"])
    );
    refused("nodes approve-routes -i 1");
    let (_, command) = nodes("nodes rename -i 1 new-name");
    assert!(matches!(command, NodesCommand::Rename { new_name, .. } if new_name == "new-name"));
}

fn routes(line: &str) -> RoutesCommand {
    match cli(line).command {
        Command::Routes(args) => args.command,
        other => panic!("`{line}` is read as {other:?}"),
    }
}

#[test]
fn route_commands_of_guides_and_older_releases_are_accepted() {
    for flag in ["-r 12", "--route 12", "--route-id 12", "--route-id=12"] {
        let RoutesCommand::Enable(selection) = routes(&format!("routes enable {flag}")) else {
            panic!("{flag}")
        };
        assert_eq!(selection.route, ["12"]);
    }
    let RoutesCommand::Disable(selection) = routes("routes disable -r 1,2 -r 3") else { panic!() };
    assert_eq!(selection.route, ["1", "2", "3"]);
    let RoutesCommand::Enable(selection) = routes("routes enable -i web --all") else { panic!() };
    assert_eq!((selection.all, selection.identifier.as_deref()), (Some(true), Some("web")));
    refused("routes enable");
    refused("routes enable --all");
    refused("routes enable -i 1 -a -r 2");
}

fn preauthkeys(line: &str) -> (Option<UserRef>, PreAuthKeysCommand) {
    match cli(line).command {
        Command::PreAuthKeys(args) => (args.group_user, args.command),
        other => panic!("`{line}` is read as {other:?}"),
    }
}

#[test]
fn pre_auth_key_commands_accept_current_and_older_spellings() {
    let (_, command) =
        preauthkeys("preauthkeys create -u 1 --reusable --ephemeral -e 90d --tags tag:a,tag:b");
    let PreAuthKeysCommand::Create { owner, reusable, ephemeral, expiration, tags } = command else {
        panic!()
    };
    assert_eq!((owner.user, reusable, ephemeral), (Some(UserRef::Id(1)), true, true));
    assert_eq!((expiration.as_secs(), tags), (90 * 86_400, vec!["tag:a".to_owned(), "tag:b".to_owned()]));

    let (_, command) = preauthkeys("preauthkeys create --namespace ns --reusable=false --expiration 1h30m");
    let PreAuthKeysCommand::Create { owner, reusable, expiration, .. } = command else { panic!() };
    assert_eq!((owner.user, reusable, expiration.as_secs()), (name("ns"), false, 5400));

    let (_, command) = preauthkeys("preauthkeys create --tags tag:a");
    assert!(matches!(command, PreAuthKeysCommand::Create { expiration, .. } if expiration.as_secs() == 3600));
    for flag in ["-u bob", "--user bob", "-n bob", "--namespace bob"] {
        assert_eq!(preauthkeys(&format!("preauthkeys {flag} list")).0, name("bob"), "{flag}");
    }
    let (user, command) = preauthkeys("preauthkeys -u bob expire abcdef");
    assert_eq!(user, name("bob"));
    assert!(matches!(command, PreAuthKeysCommand::Expire { id: None, key: Some(k), .. } if k == "abcdef"));
    assert!(refused("preauthkeys create -u 1 -e soon").contains("`soon` is not a duration"));
    assert!(refused("preauthkeys create -u 1 -e 0").contains("never works"));
    refused("preauthkeys expire");
    refused("preauthkeys delete");
}

#[test]
fn api_keys_are_selected_by_exactly_one_flag() {
    let Command::ApiKeys(args) = cli("apikeys create").command else { panic!() };
    assert!(
        matches!(args.command, ApiKeysCommand::Create { expiration } if expiration.as_secs() == 90 * 86_400)
    );
    refused("apikeys expire");
    refused("apikeys expire -p x -i 1");
    refused("apikeys delete");
}

#[test]
fn auth_policy_and_debug_commands_are_parsed() {
    let Command::Auth(AuthCommand::Register { user, which }) =
        cli("auth register --auth-id hskey-authreq-x --user bob").command
    else {
        panic!()
    };
    assert_eq!((user, which.auth_id.as_str()), (UserRef::Name("bob".into()), "hskey-authreq-x"));
    refused("auth register --auth-id x");
    refused("auth approve");

    let Command::Policy(PolicyCommand::Set { file, bypass }) =
        cli("policy set -f p.hujson --bypass-grpc-and-access-database-directly").command
    else {
        panic!()
    };
    assert!(bypass.bypass && file.file == std::path::Path::new("p.hujson"));
    refused("policy set");

    let Command::Debug(DebugCommand::CreateNode { route, user, .. }) =
        cli("debug create-node --name a -n ns -k c -r 10.0.0.0/8 -r 10.1.0.0/16").command
    else {
        panic!()
    };
    assert_eq!((route.len(), user), (2, UserRef::Name("ns".into())));
    refused("completion tcsh");
    refused("users frobnicate");
}

#[test]
fn answers_are_rendered_in_every_format() {
    let user = User { id: 1, name: "no".into(), ..User::default() };
    let answer = Answer::new(&[&user], "one user");
    assert_eq!(answer.render(Format::Text), "one user");
    let fields = [
        "\"id\": \"1\"",
        "\"name\": \"no\"",
        "\"createdAt\": null",
        "\"displayName\": \"\"",
        "\"email\": \"\"",
        "\"providerId\": \"\"",
        "\"provider\": \"\"",
        "\"profilePicUrl\": \"\"",
    ];
    assert_eq!(answer.render(Format::Json), format!("[\n\t{{\n\t\t{}\n\t}}\n]", fields.join(",\n\t\t")));
    assert_eq!(
        answer.render(Format::JsonLine),
        r#"[{"id":"1","name":"no","createdAt":null,"displayName":"","email":"","providerId":"","provider":"","profilePicUrl":""}]"#
    );
    let yaml = answer.render(Format::Yaml);
    // Strings that a YAML parser would read as a number or boolean must be quoted.
    assert!(yaml.contains("id: \"1\"") || yaml.contains("id: '1'"), "{yaml}");
    assert!(yaml.contains("name: \"no\"") || yaml.contains("name: 'no'"), "{yaml}");
    let back: Vec<User> = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(back, [user]);
    assert_eq!(Answer::new(&"hskey-api-x", "x").render(Format::Json), "\"hskey-api-x\"");
    assert_eq!(Answer::verbatim("{}\n// mine".into()).render(Format::Json), "{}\n// mine");
}

#[test]
fn failures_are_rendered_in_every_format() {
    let failure = Failure::new("there is no user `x`");
    assert_eq!(failure.render(Format::Text), "Error: there is no user `x`");
    assert_eq!(failure.render(Format::JsonLine), r#"{"error":"there is no user `x`"}"#);
    assert_eq!(failure.render(Format::Json), "{\n\t\"error\": \"there is no user `x`\"\n}");
    assert_eq!(failure.render(Format::Yaml).trim(), "error: there is no user `x`");
}

#[test]
fn usage_errors_use_the_requested_format() {
    for (line, format) in [
        ("headsail nodes delete -o json", Some(Format::Json)),
        ("headsail nodes delete --output=yaml", Some(Format::Yaml)),
        ("headsail nodes delete -ojson-line", Some(Format::JsonLine)),
        ("headsail nodes delete -o=json", Some(Format::Json)),
        ("headsail nodes delete -o", None),
        ("headsail nodes delete -o xml", None),
        ("headsail nodes delete", None),
    ] {
        assert_eq!(format_of(&argv(line)), format, "{line}");
    }
    let misuse = Cli::read(&argv("headsail nodes delete -o json-line")).unwrap_err();
    let message = Failure::usage(&misuse).render(Format::JsonLine);
    assert!(message == r#"{"error":"required argument missing: `--identifier <NODE>`"}"#, "{message}");
}

/// The message for an invalid command line, which must be our own rather than clap's and the same in every format.
fn misuse(line: &str) -> String {
    let e = Cli::read(&argv(&format!("headsail {line}"))).err().unwrap_or_else(|| panic!("`{line}` is read"));
    let failure = Failure::usage(&e);
    let text = anstream::adapter::strip_str(&failure.render(Format::Text)).to_string();
    let sentence =
        text.strip_prefix("Error: ").and_then(|t| t.split("\n\n").next()).unwrap_or_default().to_owned();
    let json: serde_json::Value = serde_json::from_str(&failure.render(Format::Json)).unwrap();
    assert_eq!(json["error"], sentence.as_str(), "{text}");
    assert!(!sentence.contains('\''), "{sentence}");
    sentence
}

#[test]
fn usage_errors_have_one_style() {
    let not_an_id = |text: &str| format!("`{text}` is not an id; ids are whole numbers from 1");
    for (line, message) in [
        (
            "preauthkeys create -u 1 -e -5m",
            "--expiration: `-5m` is not a duration: it is negative; write it as `90s`, `30m`, `12h` or `180d`",
        ),
        (
            "apikeys create -e -1h",
            "--expiration: `-1h` is not a duration: it is negative; write it as `90s`, `30m`, `12h` or `180d`",
        ),
        ("preauthkeys delete --id -1", &format!("--id: {}", not_an_id("-1"))),
        ("preauthkeys expire -i x", &format!("--id: {}", not_an_id("x"))),
        ("apikeys delete -i -1", &format!("--id: {}", not_an_id("-1"))),
        ("users list -i 0", &format!("--identifier: {}", not_an_id("0"))),
        ("users destroy -i -1", &format!("--identifier: {}", not_an_id("-1"))),
        ("users list -o xml", "--output: `xml` is not an output format; use json, json-line or yaml"),
        ("nodes delete", "required argument missing: `--identifier <NODE>`"),
        (
            "debug create-node",
            "required arguments missing: `--name <NAME>`, `--user <USER>` and `--key <KEY>`",
        ),
        ("users frobnicate", "unknown command `frobnicate`"),
        ("policy explai", "unknown command `explai`; did you mean `explain`?"),
        ("users list --nam x", "unknown flag `--nam`; did you mean `--name`?"),
        ("users create a b", "unexpected argument `b`"),
        ("users create a -d", "`--display-name` needs a value"),
        (
            "completion tcsh",
            "`tcsh` is not valid for `<SHELL>`; use one of: bash, elvish, fish, powershell, zsh",
        ),
        ("apikeys expire -p x -i 1", "`--prefix <PREFIX>` cannot be combined with `--id <ID>`"),
        ("users create a -e x -e y", "`--email <EMAIL>` is given more than once"),
        ("nodes expire -i 1 --disable=maybe", "--disable: `maybe` is neither true nor false"),
    ] {
        assert_eq!(misuse(line), message, "{line}");
    }
    let e = Cli::read(&argv("headsail users")).unwrap_err();
    let message = Failure::usage(&e);
    assert!(message.render(Format::Text).contains("Commands:"));
    assert!(message.render(Format::Json).contains("a command is missing"));
    let e = Cli::read(&argv("headsail users create")).unwrap_err();
    assert!(
        Failure::usage(&e).render(Format::Text).starts_with("Error: required argument missing: `<NAME>`\n\n")
    );
}

#[test]
fn times_are_parsed_as_the_api_parses_them() {
    let (_, command) = nodes("nodes expire -i 3 -e 9999-12-31T23:59:59Z");
    assert!(
        matches!(command, NodesCommand::Expire { expiry: Some(at), .. } if at.to_string().starts_with("9999-12-30T22:00:00"))
    );
    for text in [
        "tomorrow",
        "2027-01-01",
        "2027-13-01T00:00:00Z",
        "2027-01-01T00:00:00",
        "1e400",
        "99999-01-01T00:00:00Z",
        "''",
    ] {
        let shown = text.trim_matches('\'');
        assert_eq!(
            misuse(&format!("nodes expire -i 3 -e {text}")),
            format!("--expiry: `{shown}` is not a time; write it like 2026-01-31T12:00:00Z")
        );
    }
    for text in ["24h", "-5m", "0"] {
        let message = misuse(&format!("nodes expire -i 3 --expiry {text}"));
        assert!(message.starts_with(&format!("--expiry: `{text}` is a duration")), "{message}");
    }
}

#[test]
fn messages_cannot_control_the_terminal() {
    let answer = Answer::new(&"a\u{1b}[2J\u{7f}b", "a\u{1b}[2J\u{202e}\nb");
    assert_eq!(answer.render(Format::Text), "a\u{fffd}[2J\u{fffd}\nb");
    assert_eq!(answer.render(Format::JsonLine), "\"a\\u001b[2J\u{7f}b\"");
    assert_eq!(Failure::new("no `\u{1b}c`").render(Format::Text), "Error: no `\u{fffd}c`");
}

#[test]
fn page_urls_are_accepted_as_ids() {
    let id = "hskey-authreq-abcdefghijkmnpqrstuvwxyz";
    let url = format!("https://hs.example.com/register/{id}");
    let Command::Auth(AuthCommand::Register { which, .. }) =
        cli(&format!("auth register -u bob --auth-id {url}")).command
    else {
        panic!()
    };
    assert_eq!(which.auth_id, id);
    for line in [format!("nodes register -u bob --key {url}"), format!("nodes register -u bob {url}")] {
        let NodesCommand::Register { key, word, .. } = nodes(&line).1 else { panic!() };
        assert_eq!(key.or(word).as_deref(), Some(id), "{line}");
    }
}
