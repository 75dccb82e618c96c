//! Adapters: small networks after attention and after the feed-forward (Houlsby et al. 2019, arXiv:1902.00751), or after
//! the feed-forward alone (Pfeiffer et al. 2020, arXiv:2005.00247). PEFT has none; the file is ours.

use serde_json::{Map, Value, json};

use super::tuning::Tuning;
use super::{AdapterFile, Mergeable, Parameters, Training, bottleneck};
use crate::Result;
use crate::model::{Architecture, Group, Hooks, Linears, Model, Module, Site};
use crate::settings::config::{NonLinearity, Placement, RunConfig};
use crate::tape::{Tape, Var};

/// Networks of every block.
pub struct Houlsby {
    params: Parameters,
    size: usize,
    non_linearity: NonLinearity,
    placement: Placement,
    architecture: &'static Architecture,
}

/// Where an adapter stands, by the layer that it follows.
fn place(architecture: &Architecture, layer: usize, group: Group) -> String {
    let part = if group == Group::Output { "self_attn" } else { "mlp" };
    format!("base_model.model.{}.{part}", architecture.block_path(layer))
}

impl Placement {
    fn groups(self) -> &'static [Group] {
        match self {
            Self::Houlsby => &[Group::Output, Group::Down],
            Self::Pfeiffer => &[Group::Down],
        }
    }
}

impl Tuning for Houlsby {
    const PEFT_TYPE: &'static str = "HOULSBY";
    const IN_PEFT: bool = false;
    const FIELDS: &'static [&'static str] = &["bottleneck_size", "non_linearity", "adapter_placement"];

    async fn create(model: &Model, config: &RunConfig) -> Result<Self> {
        let (size, placement) = (config.bottleneck_size as usize, config.adapter_placement);
        let architecture = model.config.architecture;
        let of_block = |layer| placement.groups().iter().map(move |&group| place(architecture, layer, group));
        let places = (0..model.config.layers).flat_map(of_block);
        let specs =
            places.flat_map(|place| bottleneck::specs(config.seed, &place, size, model.config.hidden)).collect();
        let params = super::score::parameters(model, config, specs)?;
        Ok(Self { params, size, non_linearity: config.non_linearity, placement, architecture })
    }
}

impl AdapterFile for Houlsby {
    fn params(&self) -> &Parameters {
        &self.params
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([
            ("peft_type".into(), json!(Self::PEFT_TYPE)),
            ("bottleneck_size".into(), json!(self.size)),
            ("non_linearity".into(), json!(self.non_linearity)),
            ("adapter_placement".into(), json!(self.placement)),
        ])
    }
}

impl Hooks for Houlsby {
    fn linears(&self, t: &mut Tape, site: Site, x: Var, base: &Linears, residual: Option<Var>) -> Var {
        if !self.placement.groups().contains(&site.group) {
            return base.apply(t, x, None, residual);
        }
        let o = base.apply(t, x, None, None);
        let added = bottleneck::added(
            t,
            &self.params,
            &place(self.architecture, site.layer, site.group),
            self.non_linearity,
            o,
        );
        let h = residual.map_or(o, |residual| t.add(residual, o));
        t.add(h, added)
    }
}

impl Mergeable for Houlsby {
    fn scales(&self, name: &str) -> Result<bool, &'static str> {
        Ok(name.contains(".adapter.up."))
    }

    fn merges(&self, _: usize, _: Module) -> Result<bool, &'static str> {
        Err("its networks are not linear, and stand between the layers")
    }
}

impl Training for Houlsby {}
