//! `tunesmith generate`

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

/// Answers a prompt; the text comes as it is generated.
///
/// # Errors
/// For input that cannot be used, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let adapter = args::path(matches, "adapter").map(|folder| Adapter::read(folder)).transpose()?;
    let model = base::load(matches, args::settings(matches)?.load_in_4bit, report)?;
    let peft = adapter.map(|adapter| adapter.load(&model)).transpose()?;
    let prompt = prompt_ids(matches, &model)?;
    let get = |name: &str| *matches.get_one::<f32>(name).expect("it has a default");
    let sampling = Sampling {
        max_new_tokens: *matches.get_one::<u32>("max-new-tokens").expect("it has a default") as usize,
        temperature: get("temperature"),
        top_p: get("top-p"),
        seed: *matches.get_one("seed").expect("it has a default"),
    };
    let virtual_tokens = peft.as_deref().map_or(0, Peft::virtual_tokens);
    let positions = virtual_tokens + prompt.len() + sampling.max_new_tokens;
    let generator = Generator::new(&model, peft.as_deref(), positions)?;
    let mut told = Ok(());
    let generated = block_on(generator.generate(&prompt, sampling, |text| {
        if !report.json() {
            told = report.text(text);
        }
        told.is_ok()
    }))?;
    told?;
    if report.json() {
        report.object(&json!({
            "event": "generated",
            "text": generated.text,
            "ids": generated.ids,
            "stop": generated.stop,
            "tokens_per_second": generated.tokens_per_second,
        }))?;
    } else {
        report.line("")?;
    }
    Ok(ExitCode::SUCCESS)
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
