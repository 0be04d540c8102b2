//! Everything that can be wrong with a policy text: the stable code of each problem, its severity, and standing help.

use crate::text::diag::Severity;
use crate::text::diag::Severity::{Error, Warning};

/// Defines the problems: `Name: Severity, code, help`.
macro_rules! problems {
    ($($(#[doc = $doc:literal])* $name:ident: $severity:ident, $code:literal, $help:expr;)*) => {
        /// A kind of problem. Problems that a user would call the same share a code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Problem {
            $($(#[doc = $doc])* $name,)*
        }

        impl Problem {
            #[cfg(test)]
            const ALL: &[Problem] = &[$(Problem::$name,)*];

            /// The stable name that diagnostics have.
            pub fn code(self) -> &'static str {
                match self { $(Problem::$name => $code,)* }
            }

            /// Whether the policy is refused because of it.
            pub fn severity(self) -> Severity {
                match self { $(Problem::$name => $severity,)* }
            }

            /// What is allowed, or what to do next. Empty where the call site gives the help, or the message says it
            /// all.
            pub fn help(self) -> &'static str {
                match self { $(Problem::$name => $help,)* }
            }
        }
    };
}

const HUJSON: &str = "HuJSON is JSON that may have // and /* */ comments and trailing commas";
const KEPT: &str = "it is stored with the policy and otherwise ignored";
const DEFINE_TAG: &str = "define it in `tagOwners`";
const FEWER_TESTS: &str = "keep the tests that matter most";

problems! {
    // The text and its tree.
    Syntax: Error, "syntax", HUJSON;
    EmptyText: Error, "syntax", "write `{}` for a policy that restricts nothing";
    NumberRange: Error, "number", "write a smaller number, or a string";
    DuplicateName: Error, "duplicate-key", "merge the two, or rename one: only one of them could take effect";
    /// One field under two spellings.
    DuplicateField: Error, "duplicate-key", "merge the two";
    UnknownField: Error, "unknown-field", "";
    WrongType: Error, "wrong-type", "";
    TooManyFindings: Warning, "too-many-findings", "";

    // What has no effect yet.
    SectionWithoutEffect: Warning, "not-acting", KEPT;
    PostureWithoutEffect: Warning, "not-acting", KEPT;
    ServicesWithoutEffect: Warning, "not-acting", KEPT;
    SshFieldsWithoutEffect: Warning, "not-acting", "they are stored with the policy and otherwise ignored";
    SelectorWithoutEffect: Warning, "not-acting", "sharing and services are not supported yet";

    // Definitions.
    GroupName: Error, "group-name", "";
    NestedGroup: Error, "nested-group", "list the users of the inner group here";
    GroupMember: Error, "group-member", "name users by e-mail address or `name@`";
    PlainUser: Warning, "plain-user", "write users with an `@`, to tell them apart from hosts";
    TagName: Error, "tag-name", "a tag is `tag:` and a name of letters, digits and dashes, a letter first";
    TagOwner: Error, "tag-owner", "owners are users, groups and tags";
    TagCycle: Warning, "tag-cycle", "the cycle grants nothing; remove it";
    HostName: Error, "host-name", "a host name has no `@`, `:` or prefix";
    HostAddress: Error, "invalid-address", "a host stands for one address or one prefix, such as 10.0.0.0/8";
    IpSetName: Error, "ipset-name", "";
    IpSetEntry: Error, "invalid-address", "a set can contain addresses, prefixes, ranges, hosts and other sets";
    IpSetCycle: Error, "ipset-cycle", "look for its name in the sets that it includes";

    // Names that are not defined.
    UnknownTag: Error, "unknown-tag", DEFINE_TAG;
    UnknownGroup: Error, "unknown-group", "define it in `groups`";
    UnknownHost: Error, "invalid-address", "define it in `hosts`, or write an address, a prefix, or a user with `@`";
    UnknownIpSet: Error, "unknown-ipset", "define it in `ipsets`";
    UnknownAutogroup: Error, "unknown-autogroup", "known are: member, tagged, self, internet, danger-all, nonroot, \
        shared, admin, owner, it-admin, network-admin, billing-admin, auditor";
    ForeignDomain: Error, "foreign-domain", "";
    UnknownUser: Warning, "unknown-user",
        "it is ignored; the user may be created later, or the name may be misspelled";
    AmbiguousUser: Warning, "ambiguous-user", "write the e-mail address of the one you mean";

    // ACLs and grants.
    AclAction: Error, "invalid-action", "the only action is `accept`; what no rule accepts is refused";
    AclProtocol: Error, "invalid-protocol", "use a name such as `tcp` or a number up to 255";
    AclDestination: Error, "invalid-port", "a destination is `target:ports`, such as `tag:web:80,443` or `*:*`";
    GrantIp: Error, "invalid-ip", "write `*`, a port, a range `80-443`, or `tcp:443`, `udp:53`, `icmp:*`";
    EmptyGrant: Error, "empty-grant",
        "set `ip` to open ports, or `app` to grant capabilities";
    Capability: Error, "capability-name", "";
    Source: Error, "invalid-src",
        "sources are users, groups, tags, hosts, addresses, `*` and the autogroups of people or tags";
    SelfWithoutUsers: Error, "self-without-users",
        "a tag or an address has no devices of its own; use `autogroup:member` as the source";
    DangerAllDestination: Error, "invalid-dst", "write `*` for every address";
    NonRootDestination: Error, "invalid-dst", "it is an SSH user";
    CapabilityOnInternet: Error, "invalid-dst", "capabilities are granted on nodes; name the exit nodes by tag";
    EverythingDestination: Error, "invalid-dst", "`*` is everything, `autogroup:internet` what is public";
    Via: Error, "invalid-via", "name the tags of the routers that carry the traffic";

    // SSH.
    SshAction: Error, "invalid-action", "an SSH rule can `accept` or `check`";
    SshPeriod: Error, "invalid-period", "write `always` or a duration such as `90m` or `20h`";
    SshWithoutUsers: Error, "no-users", "name accounts, `autogroup:nonroot`, or `localpart:*@domain`";
    SshUser: Error, "invalid-user", "for every account but root write `autogroup:nonroot`";
    SshEnv: Error, "empty-env", "name a variable, or a pattern such as `LC_*`";
    SshSource: Error, "invalid-src", "sources of SSH are users, groups, tags and autogroups";
    SshDestination: Error, "invalid-dst",
        "destinations of SSH are tags, `autogroup:self`, or the one user who is the source";
    SshSelfWithoutUsers: Error, "self-without-users", "a tag has no devices of its own";
    SshTestDestination: Error, "invalid-dst",
        "destinations of SSH tests are tags, users, hosts and single addresses";

    // Attributes and approvers.
    AttrTarget: Error, "invalid-target",
        "targets are users, groups, tags, hosts, addresses, `*` and the autogroups of people or tags";
    Pool: Error, "invalid-pool", "write a free part of 100.64.0.0/10, such as 100.81.0.0/16";
    RoutePrefix: Error, "invalid-prefix", "write a prefix such as 10.0.0.0/8";
    Approver: Error, "invalid-approver", "approvers are users, groups and tags";

    // More than the server is willing to process.
    LongText: Error, "too-large", "split the tailnet or shorten the policy";
    TooManyPorts: Error, "too-large", "use ranges of ports, prefixes, groups and tags";
    TooManyNames: Error, "too-large", "use prefixes, groups and tags";
    TooManyExpectations: Error, "too-large", FEWER_TESTS;
    SlowTests: Error, "too-large", FEWER_TESTS;
    LargeIpSets: Error, "too-large", "use prefixes, and avoid long sets inside of others";
}

#[cfg(test)]
mod tests {
    use super::Problem;

    #[test]
    fn every_code_is_kebab_case() {
        for problem in Problem::ALL {
            assert!(problem.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{problem:?}");
        }
    }
}
