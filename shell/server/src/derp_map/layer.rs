//! A DERP map from one source, and how several are merged.

use std::collections::BTreeMap;

use headsail_wire::derp_map::{DerpMap, DerpRegion, HomeParams};
use headsail_wire::json;
use serde::{Deserialize, Serialize};

use crate::config::MAX_REGION_ID;

/// A DERP map from one source. Unlike the merged map it can also remove regions: those that are null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Layer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) home_params: Option<HomeParams>,
    pub(crate) regions: Option<BTreeMap<u32, Option<DerpRegion>>>,
    #[serde(rename = "omitDefaultRegions")]
    pub(crate) omit_default_regions: bool,
}

impl Layer {
    /// Parses the JSON of a DERP map, ignoring the case of field names.
    pub(crate) fn from_json(text: &[u8]) -> Result<Layer, String> {
        let layer: Layer = json::decode(text).map_err(|error| format!("not a DERP map: {error}"))?;
        layer.checked()
    }

    /// Fills in region ids and relay names that are left out, and rejects regions that clients cannot use.
    pub(crate) fn checked(mut self) -> Result<Layer, String> {
        for (id, region) in self.regions.iter_mut().flatten() {
            if *id == 0 || *id > MAX_REGION_ID {
                return Err(format!("`{id}` is not a valid region id: ids range from 1 to {MAX_REGION_ID}"));
            }
            if let Some(region) = region {
                complete(*id, region)?;
            }
        }
        Ok(self)
    }

    /// Whether it neither adds nor removes a region.
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.as_ref().is_none_or(BTreeMap::is_empty)
    }
}

fn complete(id: u32, region: &mut DerpRegion) -> Result<(), String> {
    if region.region_id != 0 && region.region_id != id {
        return Err(format!("region `{id}` has the `RegionID` `{}`: make them the same", region.region_id));
    }
    region.region_id = id;
    for (index, node) in region.nodes.iter_mut().enumerate() {
        if node.host_name.is_empty() && node.ipv4.is_empty() && node.ipv6.is_empty() {
            return Err(format!("a relay of region `{id}` has neither a host name nor an IP address"));
        }
        node.region_id = id;
        if node.name.is_empty() {
            node.name = format!("{id}-{}", index + 1);
        }
    }
    Ok(())
}

/// Merges sources in order: a later region replaces an earlier one with the same id, and null removes it.
pub(crate) fn merge<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> DerpMap {
    let mut map = DerpMap::default();
    for layer in layers {
        for (id, region) in layer.regions.iter().flatten() {
            match region {
                Some(region) => map.regions.insert(*id, region.clone()),
                None => map.regions.remove(id),
            };
        }
        if let Some(params) = &layer.home_params {
            let scores = map.home_params.get_or_insert_with(HomeParams::default);
            scores.region_score.extend(params.region_score.clone());
        }
        map.omit_default_regions |= layer.omit_default_regions;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str) -> Layer {
        Layer::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn later_layers_win_and_null_removes() {
        let first = layer(
            r#"{"Regions":{"1":{"RegionCode":"a","Nodes":[{"HostName":"a.example"}]},"2":{"RegionCode":"b"},"3":{"RegionCode":"c"}},
            "HomeParams":{"RegionScore":{"1":0.5}}}"#,
        );
        let second = layer(
            r#"{"regions":{"2":null,"3":{"regioncode":"d"},"7":null},"HomeParams":{"RegionScore":{"3":2}},"omitDefaultRegions":true}"#,
        );
        let map = merge([&first, &second]);
        let codes: Vec<_> =
            map.regions.iter().map(|(id, region)| (*id, region.region_code.as_str())).collect();
        assert_eq!(codes, [(1, "a"), (3, "d")]);
        assert_eq!(map.home_params.unwrap().region_score, [(1, 0.5), (3, 2.0)].into());
        assert!(map.omit_default_regions);
        let node = &map.regions[&1].nodes[0];
        assert_eq!((node.name.as_str(), node.region_id, map.regions[&1].region_id), ("1-1", 1, 1));
        // A layer survives a round trip through the cache.
        let text = serde_json::to_string(&second).unwrap();
        assert_eq!(layer(&text), second);
    }

    #[test]
    fn regions_that_clients_cannot_use_are_rejected() {
        let refused = |text: &str| Layer::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(
            refused(r#"{"Regions":{"65536":null}}"#),
            "`65536` is not a valid region id: ids range from 1 to 65535"
        );
        assert_eq!(
            refused(r#"{"Regions":{"1":{"RegionID":2}}}"#),
            "region `1` has the `RegionID` `2`: make them the same"
        );
        assert_eq!(
            refused(r#"{"Regions":{"1":{"Nodes":[{}]}}}"#),
            "a relay of region `1` has neither a host name nor an IP address"
        );
        assert!(refused("<html>").starts_with("not a DERP map: "));
        assert_eq!(layer("{}"), Layer::default());
        assert_eq!(layer(r#"{"Regions":null}"#), Layer::default());
    }
}
