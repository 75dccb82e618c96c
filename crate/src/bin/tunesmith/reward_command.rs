//! A program as a reward: it reads a line of JSON for each answer, and writes a line with a number or null.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tunesmith::reward::{Answer, Earned, Reward};
use tunesmith::{Error, Result};

/// How long it may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program that judges answers.
pub struct RewardCommand {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl RewardCommand {
    /// Starts the program by the system's shell; its standard error is that of this one.
    ///
    /// # Errors
    /// When the shell cannot be started.
    pub fn start(name: &str, command: &str) -> Result<Self> {
        let mut shell = if cfg!(windows) { Command::new("cmd") } else { Command::new("sh") };
        shell.args([if cfg!(windows) { "/C" } else { "-c" }, command]);
        let started = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| failed(name, &format!("it cannot be started: {error}")))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        // It ends with the program, or when nobody listens any more.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.into(), child, input, lines })
    }

    fn ask(&mut self, answer: &Answer) -> Result<Option<f64>> {
        let question = json!({ "prompt": answer.prompt, "completion": answer.text, "columns": answer.columns });
        let input = self.input.as_mut().expect("it is open until it is dropped");
        let written = writeln!(input, "{question}").and_then(|()| input.flush());
        let line = match written {
            Ok(()) => self.lines.recv_timeout(PATIENCE),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        let wrong = |what: &str| Err(failed(&self.name, what));
        match line {
            Err(RecvTimeoutError::Disconnected) => wrong("it has ended before it answered"),
            Err(RecvTimeoutError::Timeout) => {
                wrong(&format!("it has not answered within {} seconds", PATIENCE.as_secs()))
            }
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Value::Null) => Ok(None),
                Ok(Value::Number(number)) => Ok(number.as_f64()),
                // Other programs write NaN where they have nothing to say.
                _ if line.trim().eq_ignore_ascii_case("nan") => Ok(None),
                _ => {
                    let line: String = line.chars().take(60).collect();
                    wrong(&format!("it answered {line:?}, and a number or null was expected"))
                }
            },
        }
    }
}

fn failed(name: &str, what: &str) -> Error {
    Error::Config {
        field: "reward".into(),
        what: format!("{name}: {what}"),
        help:
            "try it by hand: for each line of JSON with prompt, completion and columns it writes one line, a number or \
               null, and does not keep it back"
                .into(),
    }
}

impl Reward for RewardCommand {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(&'a mut self, answers: &'a [Answer<'a>]) -> Earned<'a> {
        Box::pin(std::future::ready(answers.iter().map(|answer| self.ask(answer)).collect()))
    }
}

impl Drop for RewardCommand {
    fn drop(&mut self) {
        // One that reads to the end of its input ends by itself; any other is ended.
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
