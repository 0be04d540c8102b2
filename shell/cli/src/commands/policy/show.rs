//! Previews and explanations as text.

use headsail_api::v1::policy::{Access, ExplainResponse, PreviewPolicyResponse};

pub fn preview(p: &PreviewPolicyResponse) -> String {
    if p.nodes.is_empty() {
        return "This policy would change nothing.".to_owned();
    }
    let mut lines = Vec::new();
    for node in &p.nodes {
        lines.push(format!("{} ({})", node.name, node.id));
        let peers = |sign: &str, verb: &str, names: &[String]| {
            (!names.is_empty()).then(|| format!("  {sign} {verb} {}", names.join(", ")))
        };
        lines.extend(peers("+", "sees", &node.peers_gained));
        lines.extend(peers("-", "no longer sees", &node.peers_lost));
        lines.extend(node.access_gained.iter().map(|a| format!("  + reaches {}", access(a))));
        lines.extend(node.access_lost.iter().map(|a| format!("  - no longer reaches {}", access(a))));
    }
    lines.join("\n")
}

fn access(a: &Access) -> String {
    let ports = if a.ports == ["*"] { "every port".to_owned() } else { a.ports.join(", ") };
    format!("{} on {ports}", a.destination)
}

pub fn explain(e: &ExplainResponse) -> String {
    let verdict = if e.allowed { "yes" } else { "no" };
    let mut lines = vec![format!("{verdict}: {} -> {}", e.source, e.destination)];
    if let Some(rule) = &e.rule {
        let line = rule.line.map_or_else(String::new, |n| format!(" (line {n})"));
        let text = match rule.text.trim() {
            "" => String::new(),
            text => format!(": {text}"),
        };
        lines.push(format!("  by {}{line}{text}", rule.location));
    }
    lines.extend(e.because.iter().map(|b| format!("  because {b}")));
    lines.extend(e.missing.iter().map(|m| format!("  missing: {m}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use headsail_api::v1::policy::{ExplainRule, PreviewNode};

    use super::*;

    #[test]
    fn explanations_name_the_rule_and_the_reasons() {
        let yes = ExplainResponse {
            allowed: true,
            source: "alice-laptop (alice@)".into(),
            destination: "server:22/tcp".into(),
            rule: Some(ExplainRule { location: "acls[1]".into(), line: Some(7), text: "{..}\n".into() }),
            because: vec!["`alice@` is a member of `group:dev`".into()],
            missing: Vec::new(),
        };
        assert_eq!(
            explain(&yes),
            "yes: alice-laptop (alice@) -> server:22/tcp\n  by acls[1] (line 7): {..}\n  because `alice@` is a member of \
             `group:dev`"
        );
        let rule = Some(ExplainRule { location: "default".into(), ..ExplainRule::default() });
        let open = ExplainResponse { rule, because: Vec::new(), ..yes.clone() };
        assert!(explain(&open).ends_with("\n  by default"));
        let no = ExplainResponse { missing: vec!["no rule has `server` as a destination".into()], ..yes };
        assert!(explain(&ExplainResponse { allowed: false, ..no }).starts_with("no: "));
    }

    #[test]
    fn previews_list_gains_and_losses_per_node() {
        let node = PreviewNode {
            id: 3,
            name: "web".into(),
            peers_lost: vec!["db".into(), "laptop".into()],
            access_gained: vec![Access {
                destination: "db".into(),
                ports: vec!["tcp:22".into(), "icmp:*".into()],
            }],
            access_lost: vec![Access { destination: "laptop".into(), ports: vec!["*".into()] }],
            ..PreviewNode::default()
        };
        let p = PreviewPolicyResponse { nodes: vec![node], ..Default::default() };
        assert_eq!(
            preview(&p),
            "web (3)\n  - no longer sees db, laptop\n  + reaches db on tcp:22, icmp:*\n  - no longer reaches laptop on every port"
        );
        assert_eq!(preview(&PreviewPolicyResponse::default()), "This policy would change nothing.");
    }
}
