//! An adapter at less than its full strength.

use super::score::is_score;
use super::{Peft, create, io};
use crate::model::Model;
use crate::{Error, Result};

/// Reads an adapter as [`io::load`] does, at a strength from 0 to 1: 0 is the model without it and 1 the adapter as it was
/// saved, both to the bit. In between, what it learnt stands between where it started and where it ended.
///
/// # Errors
/// As [`io::load`]; [`Error::Config`] for a strength that is none; [`Error::Adapter`] when the method has no such thing,
/// with the reason.
pub async fn load(model: &Model, folder: &str, config: &[u8], tensors: &[u8], strength: f32) -> Result<Box<dyn Peft>> {
    if strength == 1.0 {
        return io::load(model, folder, config, tensors).await;
    }
    if !(0.0..1.0).contains(&strength) {
        return Err(Error::Config {
            field: "adapter_scale".into(),
            what: format!("{strength} is out of range"),
            help: "give a number from 0, the model without the adapter, to 1, all of it".into(),
        });
    }
    let run = io::run_config(folder, config)?;
    let peft = create(model, &run).await?;
    let params = peft.params();
    let start = params.read().await?;
    io::fill(peft.as_ref(), folder, tensors)?;
    for (index, (start, end)) in start.iter().zip(params.read().await?).enumerate() {
        // A score is made of what the adapter leaves of the model, whichever that is.
        if is_score(&params.tensors[index].name) {
            continue;
        }
        let scales = peft.scales(&params.tensors[index].name).map_err(|reason| Error::Adapter {
            file: folder.into(),
            what: format!("a {} adapter has no strength but its own: {reason}", run.method.label()),
            help: "leave adapter_scale out".into(),
        })?;
        if scales {
            let between = |(start, end): (&f32, &f32)| (1.0 - strength) * start + strength * end;
            params.write(index, &start.iter().zip(&end).map(between).collect::<Vec<f32>>());
        }
    }
    Ok(peft)
}
