//! DERP map files: YAML with the field names of the Go structs in lower case (`regionid`, `hostname`), or JSON.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use headsail_wire::derp_map::{DerpNode, DerpRegion, HomeParams};

use super::layer::Layer;
use crate::config::tree::{Entry, Malformed, Place, Tree, Value};
use crate::system::files;

/// Bound on a map file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// # Errors
/// A message with file, line and column.
pub(crate) fn load(path: &Path) -> Result<Layer, String> {
    let placed = |place: &Place, why: &dyn Display| match place {
        Place::File { line, column } => format!("{}:{line}:{column}: {why}", path.display()),
        _ => format!("{}: {why}", path.display()),
    };
    let text = files::read_bounded(path, MAX_FILE_BYTES)
        .map_err(|error| format!("cannot read the DERP map `{}`: {error}", path.display()))?;
    let tree = Tree::parse(&text).map_err(|error| placed(&error.place, &error.why))?;
    let layer = layer(&tree).map_err(|error| placed(&error.place, &error.why))?;
    layer.checked().map_err(|why| placed(&Place::Absent, &why))
}

fn malformed(place: &Place, why: impl Into<String>) -> Malformed {
    Malformed { place: place.clone(), why: why.into() }
}

/// The entries of a map, with their names in lower case.
fn fields<'a>(tree: &'a Tree, what: &str) -> Result<impl Iterator<Item = (String, &'a Entry)>, Malformed> {
    let entries: &[Entry] = match &tree.value {
        Value::Map(entries) => entries,
        Value::Null => &[],
        Value::Text(_) | Value::List(_) => {
            return Err(malformed(&tree.place, format!("{what} must be a map")));
        }
    };
    Ok(entries.iter().map(|entry| (entry.key.to_ascii_lowercase(), entry)))
}

fn layer(tree: &Tree) -> Result<Layer, Malformed> {
    let mut layer = Layer::default();
    for (name, entry) in fields(tree, "a DERP map")? {
        match name.as_str() {
            "regions" => layer.regions = Some(regions(&entry.tree)?),
            "homeparams" => layer.home_params = Some(home_params(&entry.tree)?),
            "omitdefaultregions" => layer.omit_default_regions = boolean(&entry.tree)?,
            _ => return Err(unknown(entry, "a DERP map")),
        }
    }
    Ok(layer)
}

fn unknown(entry: &Entry, what: &str) -> Malformed {
    malformed(&entry.place, format!("`{}` is not a field of {what}: correct or delete it", entry.key))
}

fn regions(tree: &Tree) -> Result<BTreeMap<u32, Option<DerpRegion>>, Malformed> {
    let mut regions = BTreeMap::new();
    for (_, entry) in fields(tree, "`regions`")? {
        let id = region_id(entry)?;
        let region = if entry.tree.value == Value::Null { None } else { Some(region(&entry.tree)?) };
        regions.insert(id, region);
    }
    Ok(regions)
}

fn region_id(entry: &Entry) -> Result<u32, Malformed> {
    entry
        .key
        .trim()
        .parse()
        .map_err(|_| malformed(&entry.place, format!("`{}` is not a valid region id", entry.key)))
}

fn region(tree: &Tree) -> Result<DerpRegion, Malformed> {
    let mut region = DerpRegion::default();
    for (name, entry) in fields(tree, "a region")? {
        let value = &entry.tree;
        match name.as_str() {
            "regionid" => region.region_id = number(value)?,
            "regioncode" => region.region_code = text(value)?,
            "regionname" => region.region_name = text(value)?,
            "latitude" => region.latitude = number(value)?,
            "longitude" => region.longitude = number(value)?,
            "avoid" => region.avoid = boolean(value)?,
            "nomeasurenohome" => region.no_measure_no_home = boolean(value)?,
            "nodes" => region.nodes = nodes(value)?,
            _ => return Err(unknown(entry, "a region")),
        }
    }
    Ok(region)
}

fn nodes(tree: &Tree) -> Result<Vec<DerpNode>, Malformed> {
    match &tree.value {
        Value::List(items) => items.iter().map(node).collect(),
        Value::Null => Ok(Vec::new()),
        Value::Text(_) | Value::Map(_) => Err(malformed(&tree.place, "`nodes` must be a list of relays")),
    }
}

fn node(tree: &Tree) -> Result<DerpNode, Malformed> {
    let mut node = DerpNode::default();
    for (name, entry) in fields(tree, "a relay")? {
        let value = &entry.tree;
        match name.as_str() {
            "name" => node.name = text(value)?,
            "regionid" => node.region_id = number(value)?,
            "hostname" => node.host_name = text(value)?,
            "certname" => node.cert_name = text(value)?,
            "ipv4" => node.ipv4 = text(value)?,
            "ipv6" => node.ipv6 = text(value)?,
            "stunport" => node.stun_port = number(value)?,
            "stunonly" => node.stun_only = boolean(value)?,
            "derpport" => node.derp_port = number(value)?,
            "insecurefortests" => node.insecure_for_tests = boolean(value)?,
            "stuntestip" => node.stun_test_ip = text(value)?,
            "canport80" => node.can_port_80 = boolean(value)?,
            _ => return Err(unknown(entry, "a relay")),
        }
    }
    Ok(node)
}

fn home_params(tree: &Tree) -> Result<HomeParams, Malformed> {
    let mut params = HomeParams::default();
    for (name, entry) in fields(tree, "`homeparams`")? {
        if name != "regionscore" {
            return Err(unknown(entry, "`homeparams`"));
        }
        for (_, score) in fields(&entry.tree, "`regionscore`")? {
            params.region_score.insert(region_id(score)?, number(&score.tree)?);
        }
    }
    Ok(params)
}

fn text(tree: &Tree) -> Result<String, Malformed> {
    match &tree.value {
        Value::Text(text) => Ok(text.trim().to_owned()),
        Value::Null => Ok(String::new()),
        Value::List(_) | Value::Map(_) => Err(malformed(&tree.place, "expected a single value")),
    }
}

fn number<T: FromStr + Default>(tree: &Tree) -> Result<T, Malformed> {
    let text = text(tree)?;
    if text.is_empty() {
        return Ok(T::default());
    }
    text.parse().map_err(|_| malformed(&tree.place, format!("`{text}` is not a valid number for this field")))
}

fn boolean(tree: &Tree) -> Result<bool, Malformed> {
    match text(tree)?.as_str() {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        other => Err(malformed(&tree.place, format!("expected `true` or `false`, not `{other}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Layer, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("derp.yaml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|error| error.replace(&path.display().to_string(), "derp.yaml"))
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        let yaml = "\
regions:
  900:
    regionid: 900
    regioncode: custom
    regionname: My Region
    nodes:
      - name: 900a
        regionid: 900
        hostname: derp.example.com
        ipv4: 198.51.100.1
        stunport: -1
        derpport: 8443
        insecurefortests: true
        canport80: true
  901:
homeparams: {regionscore: {900: 0.5}}
";
        let json = r#"{"Regions": {"900": {"RegionID": 900, "RegionCode": "custom", "RegionName": "My Region", "Nodes": [
            {"Name": "900a", "RegionID": 900, "HostName": "derp.example.com", "IPv4": "198.51.100.1", "STUNPort": -1,
             "DERPPort": 8443, "InsecureForTests": true, "CanPort80": true}]}, "901": null},
            "HomeParams": {"RegionScore": {"900": 0.5}}}"#;
        let layer = load_text(yaml).unwrap();
        assert_eq!(layer, load_text(json).unwrap());
        assert_eq!(layer, Layer::from_json(json.as_bytes()).unwrap());
        let regions = layer.regions.unwrap();
        assert_eq!(regions[&901], None);
        let node = &regions[&900].as_ref().unwrap().nodes[0];
        assert_eq!((node.stun_port, node.derp_port, node.insecure_for_tests), (-1, 8443, true));
        assert_eq!(load_text("").unwrap(), Layer::default());
    }

    #[test]
    fn errors_name_their_line_and_column() {
        let why = |text: &str| load_text(text).unwrap_err();
        assert_eq!(
            why("regions: {900: {regioncod: a}}"),
            "derp.yaml:1:17: `regioncod` is not a field of a region: correct or delete it"
        );
        assert_eq!(why("regions: {x: }"), "derp.yaml:1:11: `x` is not a valid region id");
        assert_eq!(why("regions: [1]"), "derp.yaml:1:10: `regions` must be a map");
        assert_eq!(
            why("regions: {1: {nodes: [{hostname: a, derpport: many}]}}"),
            "derp.yaml:1:47: `many` is not a valid number for this field"
        );
        assert_eq!(
            why("regions: {1: {avoid: perhaps}}"),
            "derp.yaml:1:22: expected `true` or `false`, not `perhaps`"
        );
        assert_eq!(
            why("regions: {1: {nodes: [{name: a}]}}"),
            "derp.yaml: a relay of region `1` has neither a host name nor an IP address"
        );
        assert!(why("a: 1\na: 2").starts_with("derp.yaml:2:1: duplicate"));
        assert!(
            load(Path::new("/nonexistent/derp.yaml"))
                .unwrap_err()
                .starts_with("cannot read the DERP map `/nonexistent/derp.yaml`: ")
        );
    }
}
