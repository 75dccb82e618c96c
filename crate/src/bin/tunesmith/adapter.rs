//! Adapter folders, as PEFT keeps them.

use std::path::Path;

use clap::ArgMatches;
use pollster::block_on;
use tunesmith::model::Model;
use tunesmith::peft::{Peft, io, strength};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::{Error, Result};

use super::args;

/// The two files of an adapter.
#[derive(Clone)]
pub struct Adapter {
    /// The folder, for messages.
    pub folder: String,
    /// `adapter_config.json`.
    pub config: Vec<u8>,
    /// `adapter_model.safetensors`.
    pub tensors: Vec<u8>,
}

impl Adapter {
    /// Reads the files.
    ///
    /// # Errors
    /// For a folder that is no adapter's.
    pub fn read(folder: &Path) -> Result<Self> {
        let name = folder.display().to_string();
        let file = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).map_err(|error| Error::Adapter {
                file: path.display().to_string(),
                what: error.to_string(),
                help: format!("give a folder that PEFT or Tunesmith saved, with {} and {}", io::CONFIG, io::TENSORS),
            })
        };
        Ok(Adapter { config: file(io::CONFIG)?, tensors: file(io::TENSORS)?, folder: name })
    }

    /// Puts it beside its model, with the strength that `--adapter-scale` names.
    ///
    /// # Errors
    /// When it does not fit, or has no strength but its own.
    pub fn load(&self, model: &Model, matches: &ArgMatches) -> Result<Box<dyn Peft>> {
        let strength = *matches.get_one::<f32>(args::SCALE).expect("it has a default");
        block_on(strength::load(model, &self.folder, &self.config, &self.tensors, strength))
    }

    /// The settings of a run that starts from it: the adapter's own, and those that were asked for.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn settings(&self, asked: &RunConfig, model: &Model) -> Result<RunConfig> {
        let config = io::run_config(&self.folder, &self.config)?;
        let (own, wanted) = (config.to_json(), asked.to_json());
        let contradiction = |field: &str| {
            Err(Error::Config {
                field: field.into(),
                what: format!("{} was asked for, and the adapter in {} has {}", wanted[field], self.folder, own[field]),
                help: format!("leave {field} out: --init-adapter brings its own, or start without --init-adapter"),
            })
        };
        // Layers may be named in several ways.
        for field in io::SHAPE.into_iter().filter(|field| *field != "target_modules") {
            if asked.given().any(|given| given == field) && wanted[field] != own[field] {
                return contradiction(field);
            }
        }
        let (layers, modules) = (0..model.config.layers, model.config.architecture.modules());
        let mut paths = layers.flat_map(|layer| modules.clone().map(move |module| module.path_in(layer)));
        let targets = (&asked.target_modules, &config.target_modules);
        let given = config.method == Method::Lora && asked.given().any(|given| given == "target_modules");
        if given && paths.any(|path| targets.0.matches(&path) != targets.1.matches(&path)) {
            return contradiction("target_modules");
        }
        io::begun_from(&self.folder, &self.config, asked)
    }
}
