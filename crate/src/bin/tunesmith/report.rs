//! What is told to whom: events as JSON lines on standard output for programs; words, and a bar on a terminal, on
//! standard error for people.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Map, Value};
use tunesmith::train::Event;
use tunesmith::{Error, Result};

/// The one who tells.
pub struct Report {
    json: bool,
    bar: Option<ProgressBar>,
}

impl Report {
    /// For programs, or for people.
    pub fn new(json: bool) -> Self {
        Report { json, bar: None }
    }

    /// Whether a program listens.
    pub fn json(&self) -> bool {
        self.json
    }

    /// One JSON object on a line of its own.
    ///
    /// # Errors
    /// When nobody reads standard output any more.
    pub fn object(&self, object: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(object).expect("plain values");
        self.line(&line)
    }

    /// A line on standard output.
    ///
    /// # Errors
    /// As [`Report::object`].
    pub fn line(&self, line: &str) -> Result<()> {
        self.text(&format!("{line}\n"))
    }

    /// Text on standard output, at once.
    ///
    /// # Errors
    /// As [`Report::object`].
    pub fn text(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::io("standard output", error))
    }

    /// A line for people, above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| to_people(line)),
            None => to_people(line),
        }
    }

    /// Tells an event.
    ///
    /// # Errors
    /// As [`Report::object`].
    pub fn event(&mut self, event: &Event) -> Result<()> {
        if self.json {
            return self.object(event);
        }
        match event {
            Event::Start { model, device, trainable, config, .. } => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let millions = model["parameters"].as_f64().unwrap_or_default() / 1e6;
                self.say(&format!(
                    "{} ({}, {millions:.1} M parameters) on {}",
                    text(&model["name"]),
                    text(&model["quantization"]),
                    text(&device["name"])
                ));
                let steps = &config["max_steps"];
                self.say(&format!("{}: {trainable} trainable parameters, {steps} steps", text(&config["method"])));
                if device["software"] == true {
                    self.say("This adapter is the processor pretending to be a GPU: it works, slowly.");
                }
            }
            Event::Step { step, loss, tokens, ms, metrics, .. } => {
                let speed = *tokens as f64 / (ms / 1e3);
                let line = format!("loss {loss:.4}{}  {speed:.0} tokens/s", short(metrics));
                match &self.bar {
                    Some(bar) => bar.set_message(line),
                    None => self.say(&format!("step {step}  {line}")),
                }
            }
            Event::Eval { step, loss, tokens, metrics, best, .. } => {
                let loss = loss.map_or_else(String::new, |loss| format!(" loss {loss:.4}"));
                let best = if *best { ", the best so far" } else { "" };
                self.say(&format!("step {step}  held-out{loss}{} over {tokens} tokens{best}", short(metrics)));
            }
            Event::Sample { step, prompt, text } => {
                let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                self.say(&format!("step {step}  asked: {}\n         answered: {}", line(prompt), line(text)));
            }
            Event::Checkpoint { path, .. } => self.say(&format!("checkpoint in {path}")),
            Event::Warning { message, .. } => self.say(&format!("warning: {message}")),
            Event::Done { steps, path, loss, best } => {
                self.end_bar();
                let whose = best.map_or_else(String::new, |best| format!(", as it was after step {}", best.step));
                self.say(&format!("Done after {steps} steps with loss {loss:.4}. The adapter{whose} is in {path}"));
            }
            Event::Rollout { .. } | Event::Score { .. } | Event::Error { .. } => {}
        }
        Ok(())
    }

    /// Shows a bar of `len` on a terminal.
    pub fn start_bar(&mut self, len: u64, template: &str) {
        self.end_bar();
        if !self.json && std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(template).expect("a fixed template");
            self.bar = Some(ProgressBar::new(len).with_style(style.progress_chars("━╸─")));
        }
    }

    /// The bar of a training of `steps` steps of which `done` are done.
    pub fn start_steps(&mut self, done: usize, steps: usize) {
        self.start_bar(steps as u64, "{bar:24} {pos}/{len}  {msg}  {eta} left");
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.reset_eta();
            bar.tick();
        }
    }

    /// Moves the bar.
    pub fn move_bar(&self, to: u64, len: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(len);
            bar.set_position(to);
        }
    }

    /// Takes the bar away.
    pub fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Tells why it ends here: one `error:` and one `help:` line, and the event.
    pub fn failed(&mut self, error: &Error) {
        self.end_bar();
        if self.json {
            // Where nobody reads any more, the lines below are all that can be said.
            let _ = self.object(&Event::from(error));
        }
        let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        to_people(&format!("error: {}\nhelp: {}", one_line(error.to_string()), one_line(error.help())));
    }
}

/// A line on standard error. Where nobody reads there, a run goes on.
fn to_people(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What a person wants to know first of what an objective measures: how often, and by how much, it has it right.
fn short(metrics: &Map<String, Value>) -> String {
    let names = [
        ("rewards/accuracies", "accuracy"),
        ("accuracy", "accuracy"),
        ("rewards/margins", "margin"),
        ("margin", "margin"),
        ("reward", "reward"),
        ("kl", "kl"),
        ("bits_per_byte", "bits a byte"),
    ];
    let told = names.iter().filter_map(|(name, word)| Some(format!("  {word} {:.3}", metrics.get(*name)?.as_f64()?)));
    told.collect()
}
