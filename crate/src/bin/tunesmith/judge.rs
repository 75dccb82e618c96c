//! `tunesmith judge`: preferences from a model that judges by principles.

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::{Value, json};
use tunesmith::data::example::{Example, Message, Prompt};
use tunesmith::data::prompts::PromptRow;
use tunesmith::generate::Generator;
use tunesmith::model::Model;
use tunesmith::peft::Peft;
use tunesmith::reward::{Duel, Judge, Verdict};
use tunesmith::settings::config::{Method, Objective, RunConfig};
use tunesmith::train::{Question, questions};
use tunesmith::{Error, Result};

use super::adapter::Adapter;
use super::report::Report;
use super::{args, base, data, generate, rewards};

/// Answers of one prompt.
struct Answers<'a> {
    row: &'a PromptRow,
    question: &'a Question,
    texts: Vec<String>,
}

/// Has the model answer prompts, and a judge say which answers are better: pairs for the preference objectives into a file,
/// or with an adapter how often its answers are better than those of the model without it.
///
/// # Errors
/// For input that cannot be used, or a device that failed.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let settings = args::settings(matches)?;
    let out = args::path(matches, "out");
    if let Some(out) = out.filter(|out| out.exists()) {
        return Err(Error::Io { path: out.display().to_string(), what: "it is there already".into() });
    }
    let adapter = args::path(matches, "adapter").map(|folder| Adapter::read(folder)).transpose()?;
    let path = args::path(matches, "data").expect("a required flag");
    let rows = data::prompts(path, report)?;
    let model = Rc::new(base::load(matches, &settings, report)?);
    let judging = base::judge(matches, report)?.unwrap_or_else(|| model.clone());
    let mut judge = rewards::judge(&judging, args::path(matches, "principles").expect("a required flag"))?;
    let sampling = generate::sampling(matches, "num-generations")?;
    let mut config = RunConfig::defaults(Method::Lora, Objective::Grpo);
    config.max_completion_length = sampling.max_new_tokens as u32;
    let name = path.display().to_string();
    let (asked, errors) = questions(&model, &config, &name, &rows);
    data::refuse(errors, rows.len(), &name, report)?;

    let peft = adapter.as_ref().map(|adapter| adapter.load(&model, matches)).transpose()?;
    let count = *matches.get_one::<u32>("num-generations").expect("it has a default") as usize;
    let mut write = |peft: Option<&dyn Peft>, count: usize| {
        let texts = write(&model, peft, &asked, count, sampling, matches, report)?;
        let answers = rows.iter().zip(&asked).zip(texts);
        Ok::<_, Error>(
            answers.map(|((row, question), texts)| Answers { row, question, texts }).collect::<Vec<Answers>>(),
        )
    };
    match (peft, out) {
        (Some(peft), _) => {
            let mut all = write(Some(peft.as_ref()), 1)?;
            for (own, base) in all.iter_mut().zip(write(None, 1)?) {
                own.texts.extend(base.texts);
            }
            duels(&all, &mut judge, report)?;
        }
        (None, Some(out)) => pairs(&write(None, count)?, &mut judge, out, report)?,
        (None, None) => {
            return Err(Error::Config {
                field: "out".into(),
                what: "there is neither a file for pairs nor an adapter to judge".into(),
                help: "give --out PAIRS for pairs to learn from, or --adapter DIR for duels with the base".into(),
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `count` answers to each question.
fn write(
    model: &Rc<Model>,
    peft: Option<&dyn Peft>,
    asked: &[Question],
    count: usize,
    sampling: tunesmith::generate::Sampling,
    matches: &ArgMatches,
    report: &mut Report,
) -> Result<Vec<Vec<String>>> {
    let prompts: Vec<&[u32]> =
        asked.iter().flat_map(|question| std::iter::repeat_n(&question.ids[..], count)).collect();
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or_default();
    let virtual_tokens = peft.map_or(0, |peft| peft.virtual_tokens());
    let slots = *matches.get_one::<u32>("batch-size").expect("it has a default") as usize;
    let positions = virtual_tokens + longest + sampling.max_new_tokens;
    let generator = Generator::new(model.clone(), peft, positions, slots.min(prompts.len()))?;
    report.start_bar(prompts.len() as u64, "{bar:24} {pos}/{len} answers  {eta} left");
    let mut done = 0;
    let generated = block_on(generator.generate_all(&prompts, sampling, |_, said| {
        done += u64::from(matches!(said, tunesmith::generate::Said::End(_)));
        report.move_bar(done, prompts.len() as u64);
        true
    }));
    report.end_bar();
    let texts: Vec<String> = generated?.into_iter().map(|generated| generated.text.trim().to_owned()).collect();
    Ok(texts.chunks(count).map(<[String]>::to_vec).collect())
}

/// What a judge says of each two answers to the same prompt, by their places.
fn verdicts(answers: &Answers, judge: &mut Judge) -> Result<Vec<([usize; 2], Option<Verdict>)>> {
    let count = answers.texts.len();
    let different = |[one, other]: &[usize; 2]| answers.texts[*one] != answers.texts[*other];
    let places = (0..count).flat_map(|one| (one + 1..count).map(move |other| [one, other]));
    let places: Vec<[usize; 2]> = places.filter(different).collect();
    let duel = |places: &[usize; 2]| Duel {
        prompt: &answers.question.text,
        answers: places.map(|place| &*answers.texts[place]),
    };
    let found = block_on(judge.compare(&places.iter().map(duel).collect::<Vec<_>>()))?;
    Ok(places.into_iter().zip(found).collect())
}

/// Of each prompt's answers, the one that won most against the others and the one that won least, as lines of a file.
fn pairs(all: &[Answers], judge: &mut Judge, out: &Path, report: &mut Report) -> Result<()> {
    let (mut lines, mut even, mut undecided, mut bias) = (String::new(), 0, 0, Vec::new());
    report.start_bar(all.len() as u64, "{bar:24} {pos}/{len} prompts judged  {eta} left");
    for (done, answers) in all.iter().enumerate() {
        let mut won = vec![(0.0, 0); answers.texts.len()];
        let verdicts = verdicts(answers, judge)?;
        for ([one, other], verdict) in &verdicts {
            let Some(Verdict { first, position_bias }) = *verdict else { continue };
            bias.push(position_bias);
            for (place, probability) in [(*one, first), (*other, 1.0 - first)] {
                won[place] = (won[place].0 + probability, won[place].1 + 1);
            }
        }
        let share = |place: &usize| won[*place].0 / f64::from(won[*place].1);
        let mut judged: Vec<usize> = (0..won.len()).filter(|place| won[*place].1 > 0).collect();
        judged.sort_by(|one, other| share(other).total_cmp(&share(one)));
        match (judged.first(), judged.last()) {
            (Some(best), Some(worst)) if share(best) > share(worst) && !answers.texts[*best].is_empty() => {
                let answer = |place: &usize| Prompt::Messages(vec![Message::new("assistant", &answers.texts[*place])]);
                let turns = match &answers.row.prompt {
                    Prompt::Text(text) => Prompt::Messages(vec![Message::new("user", text)]),
                    turns => turns.clone(),
                };
                let pair = Example::Preference {
                    prompt: Some(turns),
                    chosen: answer(best),
                    rejected: answer(worst),
                    margin: None,
                };
                lines += &(serde_json::to_string(&pair).expect("plain values") + "\n");
            }
            _ if verdicts.is_empty() => even += 1,
            _ => undecided += 1,
        }
        report.move_bar(done as u64 + 1, all.len() as u64);
    }
    report.end_bar();
    let path = out.display().to_string();
    std::fs::write(out, &lines).map_err(|error| Error::io(&path, error))?;
    let found = lines.lines().count();
    tell(
        &json!({
            "event": "judged", "path": path, "prompts": all.len(), "pairs": found, "alike": even, "undecided": undecided,
            "position_bias": mean(&bias),
        }),
        &format!(
            "{found} pairs from {} prompts in {path}; all answers were alike for {even}, and the judge could not decide for \
             {undecided}. An answer is {:+.0} % likelier to win for being shown first, which both orders even out.",
            all.len(),
            100.0 * mean(&bias).unwrap_or_default()
        ),
        report,
    )
}

/// In how many duels the first answer won, and in how many in both orders.
fn duels(all: &[Answers], judge: &mut Judge, report: &mut Report) -> Result<()> {
    let (mut won, mut lost, mut undecided, mut bias) = (0, 0, 0, Vec::new());
    report.start_bar(all.len() as u64, "{bar:24} {pos}/{len} duels judged  {eta} left");
    for (done, answers) in all.iter().enumerate() {
        match verdicts(answers, judge)?.first() {
            Some((_, Some(Verdict { first, position_bias }))) => {
                bias.push(*position_bias);
                if *first > 0.5 { won += 1 } else { lost += 1 }
            }
            _ => undecided += 1,
        }
        report.move_bar(done as u64 + 1, all.len() as u64);
    }
    report.end_bar();
    let decided = won + lost;
    let share = (decided > 0).then(|| f64::from(won) / f64::from(decided));
    tell(
        &json!({
            "event": "duels", "won": won, "lost": lost, "undecided": undecided, "share": share,
            "position_bias": mean(&bias),
        }),
        &format!("The adapter's answer won {won} of {decided} duels with the base's; {undecided} had no winner."),
        report,
    )
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn tell(event: &Value, words: &str, report: &Report) -> Result<()> {
    if report.json() { report.object(event) } else { report.line(words) }
}
