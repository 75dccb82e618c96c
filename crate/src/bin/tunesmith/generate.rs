//! `tunesmith generate`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::json;
use tunesmith::Result;
use tunesmith::data::example::Message;
use tunesmith::generate::{Generator, Sampling};
use tunesmith::model::Model;
use tunesmith::peft::Peft;

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base};

/// Answers a prompt, with each adapter in turn where there are several; the text comes as it is generated.
///
/// # Errors
/// For input that cannot be used, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let folders = matches.get_many::<PathBuf>("adapter").into_iter().flatten();
    let adapters = folders.map(|folder| Adapter::read(folder)).collect::<Result<Vec<_>>>()?;
    let model = base::load(matches, &args::settings(matches)?, report)?;
    let mut loaded = Vec::with_capacity(adapters.len());
    for adapter in &adapters {
        loaded.push((adapter.folder.as_str(), adapter.load(&model, matches)?));
    }
    let prompt = prompt_ids(matches, &model)?;
    let get = |name: &str| *matches.get_one::<f32>(name).expect("it has a default");
    let sampling = Sampling {
        max_new_tokens: *matches.get_one::<u32>("max-new-tokens").expect("it has a default") as usize,
        temperature: get("temperature"),
        top_p: get("top-p"),
        seed: *matches.get_one("seed").expect("it has a default"),
    };
    if loaded.is_empty() {
        answer(&model, None, &prompt, sampling, report)?;
    }
    for (folder, peft) in &loaded {
        if loaded.len() > 1 && !report.json() {
            report.line(&format!("-- {folder}"))?;
        }
        answer(&model, Some((folder, peft.as_ref())), &prompt, sampling, report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One answer, of the model or of one of its adapters.
fn answer(
    model: &Model,
    adapter: Option<(&str, &dyn Peft)>,
    prompt: &[u32],
    sampling: Sampling,
    report: &Report,
) -> Result<()> {
    let (folder, peft) = adapter.unzip();
    let virtual_tokens = peft.map_or(0, |peft| peft.virtual_tokens());
    let positions = virtual_tokens + prompt.len() + sampling.max_new_tokens;
    let generator = Generator::new(model, peft, positions)?;
    let mut told = Ok(());
    let generated = block_on(generator.generate(prompt, sampling, |text| {
        if !report.json() {
            told = report.text(text);
        }
        told.is_ok()
    }))?;
    told?;
    if !report.json() {
        return report.line("");
    }
    report.object(&json!({
        "event": "generated",
        "adapter": folder,
        "text": generated.text,
        "ids": generated.ids,
        "stop": generated.stop,
        "tokens_per_second": generated.tokens_per_second,
    }))
}

fn prompt_ids(matches: &ArgMatches, model: &Model) -> Result<Vec<u32>> {
    let text = |name: &str| matches.get_one::<String>(name);
    let prompt = text("prompt").expect("a required flag");
    if matches.get_flag("raw") {
        let tokenizer = &model.tokenizer;
        let mut ids = tokenizer.encode(prompt, true)?;
        if let Some(bos) = tokenizer.bos().filter(|bos| tokenizer.add_bos() && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        return Ok(ids);
    }
    let mut messages: Vec<Message> = text("system").map(|text| Message::new("system", text)).into_iter().collect();
    messages.push(Message::new("user", prompt));
    Generator::chat_ids(model, &messages)
}
