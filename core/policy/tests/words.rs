//! The exact words of messages: similar problems have similar messages, which quote what was written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use headsail_policy::{Policy, Settings};

/// The problems of a policy in a tailnet of one domain, without their places.
fn problems(text: &str) -> Vec<String> {
    let settings = Settings { domains: vec!["example.com".into()] };
    let refusal = Policy::parse(text, &settings).expect_err(text);
    refusal.diagnostics.into_iter().map(|d| d.message).collect()
}

#[track_caller]
fn said(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "{text}");
}

#[test]
fn tags_are_spelled_as_clients_check_them() {
    let letters = "tag names can only contain numbers, letters, or dashes";
    let long = format!("tag:{}", "a".repeat(252));
    for (tag, quoted, error) in [
        ("tag:a_b", "tag:a_b", letters),
        ("tag:a.b", "tag:a.b", letters),
        ("tag:a b", "tag:a b", letters),
        ("tag:a:b", "tag:a:b", letters),
        ("tag:aé\u{200d}", "tag:aé\\u200d", letters),
        ("tag:", "tag:", "tag names must not be empty"),
        ("tag:1a", "tag:1a", "tag names must start with a letter, after 'tag:'"),
        (&long, &long, "tags must have at most 255 characters"),
        ("foo", "foo", "tags must start with 'tag:'"),
        ("Tag:a", "Tag:a", "tags must start with 'tag:'"),
    ] {
        let text = format!("{{\"tagOwners\": {{\"{tag}\": []}}}}");
        said(&text, &[&format!("tagOwners[\"{quoted}\"]: {error}")]);
        assert_eq!(headsail_policy::check_tag(tag), Err(error), "one rule, wherever a tag comes from");
    }
    assert_eq!(headsail_policy::check_tag(&long[..255]), Ok(()));
}

#[test]
fn unknown_names_in_sources_and_destinations_are_reported() {
    let acl = |src: &str, dst: &str| {
        format!("{{\"acls\": [{{\"action\": \"accept\", \"src\": [\"{src}\"], \"dst\": [\"{dst}\"]}}]}}")
    };
    said(&acl("nohost", "*:*"), &["src=\"nohost\": invalid address"]);
    said(&acl("*", "nohost:22"), &["dst=\"nohost\": \"nohost\": invalid address"]);
    said(&acl("*", "tag:no:22"), &["dst=\"tag:no\": tag not found: \"tag:no\""]);
    said(&acl("*", "autogroup:foo:22"), &["dst=\"autogroup:foo\": autogroup not found: \"autogroup:foo\""]);
    said(&acl("autogroup:foo", "*:*"), &["src=autogroup not found: \"autogroup:foo\""]);
    said(&acl("*", "group:a\u{200d}:22"), &["dst=\"group:a\\u200d\": group not found: \"group:a\\u200d\""]);
    let ssh = |src: &str, dst: &str| {
        format!(
            "{{\"ssh\": [{{\"action\": \"accept\", \"src\": [\"{src}\"], \"dst\": [\"{dst}\"], \"users\": [\"root\"]}}]}}"
        )
    };
    said(&ssh("10.33.0.5/16", "autogroup:member"), &["invalid src \"10.33.0.5/16\""]);
    said(&ssh("autogroup:member", "10.33.0.5/16"), &["invalid dst \"10.33.0.5/16\""]);
    let grant = "{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"10.0.0.0/0\"], \"ip\": [\"*\"]}]}";
    said(grant, &["dst \"10.0.0.0/0\": to allow all IP addresses, use \"*\" or \"autogroup:internet\""]);
}

#[test]
fn a_duplicate_is_reported_once_and_both_copies_are_checked() {
    let text = "{
      \"acls\": [{\"action\": \"deny\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}],
      \"tagOwners\": {\"tag:1\": []}, \"tagOwners\": {\"tag:2\": [], \"tag:2\": [\"tag:no\"]},
      \"ACLs\": [{\"action\": \"drop\", \"src\": [\"*\"], \"src\": [\"tag:no\"], \"dst\": [\"*:*\"]}],
      \"autoApprovers\": {\"exitNode\": [\"tag:a\"]}, \"autoApprovers\": {\"exitNode\": [\"tag:b\"]},
    }";
    let letter = "tag names must start with a letter, after 'tag:'";
    let expected = [
        "action=\"deny\" is not supported",
        &format!("tagOwners[\"tag:1\"]: {letter}"),
        "the name `tagOwners` appears twice",
        &format!("tagOwners[\"tag:2\"]: {letter}"),
        "the name `tag:2` appears twice",
        &format!("tagOwners[\"tag:2\"]: {letter}"),
        "tagOwners[\"tag:2\"]: tag not found: \"tag:no\"",
        "`ACLs` appears twice, in different spellings",
        "action=\"drop\" is not supported",
        "the name `src` appears twice",
        "src=tag not found: \"tag:no\"",
        "tag not found: \"tag:a\"",
        "the name `autoApprovers` appears twice",
        "tag not found: \"tag:b\"",
    ];
    said(text, &expected);
}

#[test]
fn what_is_not_json_is_not_hujson() {
    let space = "not valid HuJSON: this character is only allowed in a string or a comment";
    let string = "not valid HuJSON: a string can't contain this character or span lines; write `\\n`";
    for c in ["\x0b", "\x0c", "\u{a0}", "\u{2028}", "é"] {
        said(&format!("{{{c}}}"), &[space]);
    }
    for c in ["\n", "\r", "\t", "\0"] {
        said(&format!("{{\"hosts\": {{\"a{c}\": \"10.0.0.1\"}}}}"), &[string]);
    }
    said("{\"hosts\": 01}", &["not valid HuJSON: expected comma"]);
    said("{\"#a\": [1e400]}", &["the number \"1e400\" is out of range"]);
    let fine = "// \u{a0}\x0b\r\n/* \u{a0} \" */{\"#a\": \"\u{a0}\u{2028} // \\\" \\n\",}// \u{a0}";
    Policy::parse(fine, &Settings::default()).expect("comments and strings hold what they like");
    let refusal = Policy::parse("{\n\"a\": \"é\n\"}", &Settings::default()).expect_err("a line in a string");
    assert_eq!((refusal.diagnostics[0].line, refusal.diagnostics[0].column), (2, 8));
}

#[test]
fn unknown_names_in_owners_and_approvers_are_reported() {
    let owner = |o: &str| format!("{{\"tagOwners\": {{\"tag:x\": [\"{o}\"]}}}}");
    said(&owner("tag:no"), &["tagOwners[\"tag:x\"]: tag not found: \"tag:no\""]);
    said(&owner("group:no"), &["tagOwners[\"tag:x\"]: group not found: \"group:no\""]);
    said(&owner("autogroup:no"), &["tagOwners[\"tag:x\"]: autogroup not found: \"autogroup:no\""]);
    said(&owner("10.33.0.5/16"), &["tagOwners[\"tag:x\"]: \"10.33.0.5/16\" can't own a tag"]);
    let exit = |who: &str| format!("{{\"autoApprovers\": {{\"exitNode\": [\"{who}\"]}}}}");
    said(&exit("tag:no"), &["tag not found: \"tag:no\""]);
    said(&exit("autogroup:no"), &["autogroup not found: \"autogroup:no\""]);
    said(&exit("10.33.0.5/16"), &["\"10.33.0.5/16\" can't approve routes"]);
}

#[test]
fn a_foreign_domain_is_refused_everywhere() {
    let foreign =
        "other.org is not associated with this Tailnet and cannot be used in user:*@<domain> expressions";
    let who = "\"user:*@other.org\"";
    for (text, side) in [
        (format!("{{\"groups\": {{\"group:g\": [{who}]}}}}"), "groups[\"group:g\"]: "),
        (format!("{{\"tagOwners\": {{\"tag:x\": [{who}]}}}}"), "tagOwners[\"tag:x\"]: "),
        (format!("{{\"autoApprovers\": {{\"routes\": {{\"10.0.0.0/8\": [{who}]}}}}}}"), ""),
        (format!("{{\"grants\": [{{\"src\": [{who}], \"dst\": [\"*\"], \"ip\": [\"*\"]}}]}}"), "src="),
        (
            format!("{{\"grants\": [{{\"src\": [\"*\"], \"dst\": [{who}], \"ip\": [\"*\"]}}]}}"),
            "dst=\"user:*@other.org\": ",
        ),
        (format!("{{\"nodeAttrs\": [{{\"target\": [{who}], \"attr\": [\"x\"]}}]}}"), ""),
        (
            format!(
                "{{\"ssh\": [{{\"action\": \"accept\", \"src\": [{who}], \"dst\": [\"autogroup:tagged\"], \"users\": [\"root\"]}}]}}"
            ),
            "[ssh] ",
        ),
    ] {
        said(&text, &[&format!("{side}{foreign}")]);
    }
    let users = "{\"ssh\": [{\"action\": \"accept\", \"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:tagged\"], \"users\": [\"localpart:*@other.org\"]}]}";
    said(users, &[foreign]);
}

#[test]
fn values_of_capabilities_stay_as_written() {
    let values = "[{\"n\":12345678901234567890123,\"e\":[1e2,-0,0.10],\"s\":\"\u{a0}\\n\"},null,true]";
    let spaced = values.replace(',', " , // so\n ");
    let text =
        format!("{{\"grants\": [{{\"src\": [\"*\"], \"dst\": [\"*\"], \"app\": {{\"a.b/c\": {spaced}}}}}]}}");
    let policy = Policy::parse(&text, &Settings::default()).expect("a good policy");
    let told = serde_json::to_string(&policy.document().rules[0].app["a.b/c"]).expect("JSON");
    assert_eq!(told, values);
}
