//! The policy file as types: what the user wrote, with the place of everything that may be wrong.

use std::borrow::Cow;
use std::collections::BTreeMap;

use headsail_wire::filter::{CapMap, PortRange};
use ipnet::IpNet;

use crate::text::diag::Span;
use crate::text::ipsets::{Entry, IpSets, Term};
use crate::text::net::Net;
use crate::text::selector::Selector;

/// A value and its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place in the text.
    pub span: Span,
}

/// A policy file.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// `groups`
    pub groups: Vec<Named<Vec<At<Selector>>>>,
    /// `tagOwners`
    pub tag_owners: Vec<Named<Vec<At<Selector>>>>,
    /// `hosts`
    pub hosts: Vec<Named<Net>>,
    /// `ipsets`
    pub ipsets: Vec<Named<Vec<At<IpSetEntry>>>>,
    /// `grants`, then `acls`: the order in which they apply.
    pub rules: Vec<Rule>,
    /// Whether `acls` or `grants` is present; without either, everything is allowed.
    pub restricts: bool,
    /// `ssh`
    pub ssh: Vec<SshRule>,
    /// `nodeAttrs`
    pub attrs: Vec<NodeAttr>,
    /// `autoApprovers`
    pub approvers: Approvers,
    /// `tests`
    pub tests: Vec<Test>,
    /// `sshTests`
    pub ssh_tests: Vec<SshTest>,
    /// `randomizeClientPort`
    pub randomize_client_port: bool,
    /// `disableIPv4`
    pub disable_ipv4: bool,
    /// Sections that are stored but have no effect: name to value.
    pub kept: BTreeMap<String, serde_json::Value>,
    pub(crate) index: Index,
}

/// Indexes of the definitions, so that a lookup does not depend on how many there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    groups: BTreeMap<String, usize>,
    tags: BTreeMap<String, usize>,
    hosts: BTreeMap<String, usize>,
    ipsets: BTreeMap<String, usize>,
    sets: IpSets,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T> {
    /// The name, with its prefix.
    pub name: At<String>,
    /// What it stands for.
    pub value: T,
}

/// An entry of `ipsets`.
#[derive(Clone, Debug, PartialEq)]
pub struct IpSetEntry {
    /// Whether it removes addresses that earlier entries added.
    pub remove: bool,
    /// Addresses, a host, or another set.
    pub what: Selector,
}

/// The section of the file that a rule is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleKind {
    /// `grants`
    Grant,
    /// `acls`
    Acl,
}

/// An entry of `grants` or `acls`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its section.
    pub kind: RuleKind,
    /// Its index in the section, from 0.
    pub index: usize,
    /// Its place in the text.
    pub span: Span,
    /// Sources.
    pub src: Vec<At<Selector>>,
    /// Destinations; in an ACL, each has its ports.
    pub dst: Vec<At<Destination>>,
    /// The protocols and ports that it opens: `proto` of an ACL, `ip` of a grant.
    pub ip: Vec<IpSpec>,
    /// `app`: capabilities granted.
    pub app: CapMap,
    /// `via`: tags of the routers that carry the traffic.
    pub via: Vec<At<String>>,
    /// `srcPosture`: stored, without effect.
    pub posture: Vec<String>,
}

/// A destination. Only those of ACLs have ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// The user, node or address meant.
    pub target: Selector,
    /// Ports, for ACLs.
    pub ports: Vec<PortRange>,
}

/// A protocol and ports. In an ACL, the ports are those of the destinations.
#[derive(Clone, Debug, PartialEq)]
pub struct IpSpec {
    /// Protocol number; none means TCP, UDP and ICMP.
    pub protocol: Option<u8>,
    /// Ports, for grants.
    pub ports: Vec<PortRange>,
}

/// What an SSH rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshVerb {
    /// Accepts the login.
    Accept,
    /// Accepts the login after a check, which stays valid for a period in nanoseconds; 0 (`always` or `0s`) checks
    /// every login.
    Check(i64),
}

/// An entry of `ssh`. Two are equal if they do the same, wherever they stand.
#[derive(Clone, Debug)]
pub struct SshRule {
    /// Its place in the text.
    pub span: Span,
    /// What it does.
    pub verb: SshVerb,
    /// Whether `checkPeriod` was given.
    pub period_given: bool,
    /// Sources.
    pub src: Vec<At<Selector>>,
    /// Destinations.
    pub dst: Vec<At<Selector>>,
    /// Accounts.
    pub users: Vec<SshUser>,
    /// `acceptEnv`
    pub accept_env: Vec<String>,
    /// `recorder`: stored, without effect.
    pub recorder: Vec<String>,
    /// `enforceRecorder`: stored, without effect.
    pub enforce_recorder: bool,
}

impl PartialEq for SshRule {
    fn eq(&self, other: &SshRule) -> bool {
        let words = |list: &[At<Selector>]| list.iter().map(|s| s.value.clone()).collect::<Vec<_>>();
        self.verb == other.verb
            && words(&self.src) == words(&other.src)
            && words(&self.dst) == words(&other.dst)
            && self.users == other.users
            && self.accept_env == other.accept_env
    }
}

/// An account on the destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SshUser {
    /// `autogroup:nonroot`: every account but root.
    NonRoot,
    /// `localpart:*@domain`: the part before `@` of the user's e-mail address. Matches nobody if the domain is empty.
    LocalPart(String),
    /// An account by name.
    Name(String),
}

/// An entry of `nodeAttrs`.
#[derive(Clone, Debug)]
pub struct NodeAttr {
    /// Its place in the text.
    pub span: Span,
    /// Which nodes.
    pub target: Vec<At<Selector>>,
    /// `attr` and `app`: capabilities of the node.
    pub caps: CapMap,
    /// `ipPool`: pools for the addresses of new nodes.
    pub pools: Vec<IpNet>,
}

/// `autoApprovers`
#[derive(Clone, Debug, Default)]
pub struct Approvers {
    /// Whose routes are approved, by prefix; narrower routes are included.
    pub routes: Vec<(At<IpNet>, Vec<At<Selector>>)>,
    /// Whose exit nodes are approved.
    pub exit: Vec<At<Selector>>,
    /// Whose services are approved; stored, without effect.
    pub services: Vec<Named<Vec<At<Selector>>>>,
}

/// An entry of `tests`.
#[derive(Clone, Debug)]
pub struct Test {
    /// Its place in the text.
    pub span: Span,
    /// Source.
    pub src: String,
    /// The protocol as written; empty means TCP or UDP.
    pub proto: String,
    /// Destinations with a port that must be reachable.
    pub accept: Vec<At<String>>,
    /// Destinations with a port that must not be reachable.
    pub deny: Vec<At<String>>,
}

/// An entry of `sshTests`.
#[derive(Clone, Debug)]
pub struct SshTest {
    /// Its place in the text.
    pub span: Span,
    /// Source.
    pub src: String,
    /// Destinations.
    pub dst: Vec<At<String>>,
    /// Accounts whose logins must be accepted.
    pub accept: Vec<String>,
    /// Accounts whose logins must be accepted after a check.
    pub check: Vec<String>,
    /// Accounts whose logins must be refused.
    pub deny: Vec<String>,
}

impl Document {
    /// Builds the indexes, after all definitions are read.
    pub(crate) fn reindex(&mut self) {
        fn places<T>(named: &[Named<T>]) -> BTreeMap<String, usize> {
            named.iter().enumerate().map(|(i, n)| (n.name.value.clone(), i)).collect()
        }
        self.index = Index {
            groups: places(&self.groups),
            tags: places(&self.tag_owners),
            hosts: places(&self.hosts),
            ipsets: places(&self.ipsets),
            sets: IpSets::default(),
        };
        let entry = |e: &At<IpSetEntry>| {
            let what = match &e.value.what {
                Selector::Net(net) => Term::Net(*net),
                Selector::Host(name) => Term::Net(self.host(name)?),
                Selector::IpSet(name) => Term::Set(self.ipset_index(name)?),
                _ => return None,
            };
            Some(Entry { remove: e.value.remove, what })
        };
        let sets: Vec<Vec<Entry>> =
            self.ipsets.iter().map(|s| s.value.iter().filter_map(entry).collect()).collect();
        self.index.sets = IpSets::new(&sets);
    }

    /// The owners of a tag, if it is defined.
    pub fn tag(&self, tag: &str) -> Option<&[At<Selector>]> {
        Some(&self.tag_owners.get(*self.index.tags.get(tag)?)?.value)
    }

    /// The members of a group, if it is defined.
    pub fn group(&self, group: &str) -> Option<&[At<Selector>]> {
        Some(&self.groups.get(*self.index.groups.get(group)?)?.value)
    }

    /// The addresses of the sets, expanded.
    pub(crate) fn sets(&self) -> &IpSets {
        &self.index.sets
    }

    /// The index of a set of addresses in `ipsets`.
    pub(crate) fn ipset_index(&self, name: &str) -> Option<usize> {
        self.index.ipsets.get(name).copied()
    }

    /// The addresses that a literal, a host or a set stands for; none for selectors of users or nodes.
    pub fn addresses(&self, s: &Selector) -> Cow<'_, [Net]> {
        match s {
            Selector::Net(n) => Cow::Owned(vec![*n]),
            Selector::Host(h) => self.host(h).into_iter().collect(),
            Selector::IpSet(name) => {
                Cow::Borrowed(self.ipset_index(name).map_or(&[], |set| self.index.sets.get(set)))
            }
            _ => Cow::Owned(Vec::new()),
        }
    }

    /// Whether a selector is a name without a host. Where users are expected, it means a user.
    pub(crate) fn host_missing(&self, s: &Selector) -> bool {
        matches!(s, Selector::Host(name) if self.host(name).is_none())
    }

    /// What a host name stands for.
    pub fn host(&self, name: &str) -> Option<Net> {
        Some(self.hosts.get(*self.index.hosts.get(name)?)?.value)
    }
}
