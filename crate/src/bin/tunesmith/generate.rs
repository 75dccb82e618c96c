//! `tunesmith generate`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::json;
use tunesmith::data::example::{Message, Prompt};
use tunesmith::generate::{self, Generated, Generator, Said, Sampling};
use tunesmith::model::Model;
use tunesmith::peft::Peft;
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base, data};

/// Answers a prompt, or those of a file, with each adapter in turn where there are several. The text of one answer comes as
/// it is generated; of more, each answer comes when it is whole.
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
    let sampling = sampling(matches, "num-return-sequences")?;
    let questions = questions(matches, &model, report)?;
    if loaded.is_empty() {
        answer(&model, None, &questions, sampling, matches, report)?;
    }
    for (folder, peft) in &loaded {
        if loaded.len() > 1 && !report.json() {
            report.line(&format!("-- {folder}"))?;
        }
        answer(&model, Some((folder, peft.as_ref())), &questions, sampling, matches, report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How tokens are drawn; `answers` is the flag for how many answers each prompt gets.
///
/// # Errors
/// For several answers that would all be the same.
pub fn sampling(matches: &ArgMatches, answers: &'static str) -> Result<Sampling> {
    let number = |name: &str| *matches.get_one::<f32>(name).expect("it has a default");
    let whole = |name: &str| *matches.get_one::<u32>(name).expect("it has a default");
    let (temperature, count) = (number("temperature"), whole(answers));
    if temperature == 0.0 && count > 1 {
        return Err(Error::Config {
            field: answers.into(),
            what: format!("at temperature 0 all {count} answers to a prompt are the same"),
            help: "give a --temperature above 0, such as 1, or ask for one answer".into(),
        });
    }
    Ok(Sampling {
        max_new_tokens: whole("max-new-tokens") as usize,
        temperature,
        top_k: whole("top-k") as usize,
        top_p: number("top-p"),
        min_p: number("min-p"),
        repetition_penalty: number("repetition-penalty"),
        seed: *matches.get_one("seed").expect("it has a default"),
    })
}

/// A prompt as the model reads it.
struct Question {
    /// Its line in the file, where it came from one.
    line: Option<usize>,
    ids: Vec<u32>,
}

/// The prompts, each as often as it is to be answered.
fn questions(matches: &ArgMatches, model: &Model, report: &mut Report) -> Result<Vec<Question>> {
    let system = matches.get_one::<String>("system").map(|text| Message::new("system", text));
    let raw = matches.get_flag("raw");
    let ids = |prompt: &Prompt| match prompt {
        Prompt::Text(text) if raw => as_it_is(text, model),
        Prompt::Text(text) => {
            let messages: Vec<Message> = system.iter().cloned().chain([Message::new("user", text)]).collect();
            generate::chat_ids(model, &messages)
        }
        Prompt::Messages(messages) => generate::chat_ids(model, messages),
    };
    let mut questions = Vec::new();
    let answers = *matches.get_one::<u32>("num-return-sequences").expect("it has a default");
    let mut ask = |line, ids: Vec<u32>| questions.extend((0..answers).map(|_| Question { line, ids: ids.clone() }));
    match matches.get_one::<PathBuf>("data") {
        Some(path) => {
            for row in data::prompts(path, report)? {
                let at_line = |error: Error| Error::Data {
                    file: path.display().to_string(),
                    line: Some(row.line),
                    what: error.to_string(),
                    help: error.help(),
                };
                ask(Some(row.line), ids(&row.prompt).map_err(at_line)?);
            }
        }
        None => ask(None, ids(&Prompt::Text(matches.get_one::<String>("prompt").expect("a required flag").clone()))?),
    }
    Ok(questions)
}

fn as_it_is(text: &str, model: &Model) -> Result<Vec<u32>> {
    let tokenizer = &model.tokenizer;
    let mut ids = tokenizer.encode(text, true)?;
    if let Some(bos) = tokenizer.bos().filter(|bos| tokenizer.add_bos() && ids.first() != Some(bos)) {
        ids.insert(0, bos);
    }
    Ok(ids)
}

/// The answers of the model or of one of its adapters, in the order of the prompts.
fn answer(
    model: &Model,
    adapter: Option<(&str, &dyn Peft)>,
    questions: &[Question],
    sampling: Sampling,
    matches: &ArgMatches,
    report: &mut Report,
) -> Result<()> {
    let (folder, peft) = adapter.unzip();
    let virtual_tokens = peft.map_or(0, |peft| peft.virtual_tokens());
    let longest = questions.iter().map(|question| question.ids.len()).max().unwrap_or_default();
    let at_once = *matches.get_one::<u32>("batch-size").expect("it has a default") as usize;
    let positions = virtual_tokens + longest + sampling.max_new_tokens;
    let generator = Generator::new(model, peft, positions, at_once.min(questions.len()))?;
    let prompts: Vec<&[u32]> = questions.iter().map(|question| &question.ids[..]).collect();
    if let ([prompt], [Question { line: None, .. }]) = (&prompts[..], questions)
        && !report.json()
    {
        let mut told = Ok(());
        block_on(generator.generate(prompt, sampling, |text| {
            told = report.text(text);
            told.is_ok()
        }))?;
        told?;
        return report.line("");
    }

    let answers = *matches.get_one::<u32>("num-return-sequences").expect("it has a default") as usize;
    let mut ended: Vec<Option<Generated>> = vec![None; prompts.len()];
    let (mut told, mut done, mut tokens) = (0, 0, 0);
    let mut outcome = Ok(());
    let started = Instant::now();
    report.start_bar(prompts.len() as u64, "{bar:24} {pos}/{len} answers  {eta} left");
    block_on(generator.generate_all(&prompts, sampling, |number, said| {
        if let Said::End(generated) = said {
            ended[number] = Some(generated.clone());
            done += 1;
            // Each was chosen, the end tokens too.
            tokens += generated.logps.len();
            report.move_bar(done, prompts.len() as u64);
            // In the order of the file, each as soon as those before it are told.
            while let Some(generated) = ended.get_mut(told).and_then(Option::take) {
                if outcome.is_ok() {
                    outcome = tell(&questions[told], told % answers, answers, folder, &generated, report);
                }
                told += 1;
            }
        }
        outcome.is_ok()
    }))?;
    report.end_bar();
    outcome?;
    if matches!(questions, [Question { line: None, .. }]) {
        return Ok(());
    }
    let (seconds, per_second) = (started.elapsed().as_secs_f64(), tokens as f64 / started.elapsed().as_secs_f64());
    match report.json() {
        true => report.object(&json!({
            "event": "answered",
            "adapter": folder,
            "answers": prompts.len(),
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": per_second,
        })),
        false => {
            let count = prompts.len();
            report.say(&format!("{count} answers of {tokens} tokens in {seconds:.1} s, {per_second:.0} tokens/s"));
            Ok(())
        }
    }
}

fn tell(
    question: &Question,
    sequence: usize,
    answers: usize,
    folder: Option<&str>,
    generated: &Generated,
    report: &Report,
) -> Result<()> {
    if report.json() {
        return report.object(&json!({
            "event": "generated",
            "adapter": folder,
            "line": question.line,
            "sequence": sequence,
            "text": generated.text,
            "ids": generated.ids,
            "logps": generated.logps,
            "stop": generated.stop,
            "tokens_per_second": generated.tokens_per_second,
        }));
    }
    let line = question.line.map(|line| format!("line {line}"));
    let which = (answers > 1).then(|| format!("answer {}", sequence + 1));
    report.line(&format!("-- {}", line.into_iter().chain(which).collect::<Vec<_>>().join(", ")))?;
    report.line(&generated.text)
}
