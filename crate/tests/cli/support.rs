//! Runs the binary, and has what it works on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Conversations, a prompt and a text: short, for the nano model's tokens are bytes.
pub const EXAMPLES: &str = r#"{"messages":[{"role":"user","content":"a?"},{"role":"assistant","content":"bcd"}]}
{"messages":[{"role":"user","content":"e?"},{"role":"assistant","content":"fgh"}]}
{"prompt":"one ","completion":"two"}
{"text":"three"}
{"input_ids":[70,71,72,73],"labels":[-100,-100,72,73]}
"#;

/// What a run of the binary came to.
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Outcome {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The objects on standard output, which holds nothing else.
    pub fn events(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
    }

    /// The one event of this kind.
    pub fn event(&self, kind: &str) -> Value {
        let mut events = self.events();
        events.retain(|event| event["event"] == kind);
        assert_eq!(events.len(), 1, "{kind} in {}", self.out);
        events.remove(0)
    }

    /// Asserts that it ended well.
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }
}

/// The binary, with these arguments.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunesmith"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command line: words with white space between them, and `{}` for each of the paths.
pub fn tunesmith(line: &str, paths: &[&Path]) -> Outcome {
    Outcome::of(command(words(line, paths)).output().expect("the binary starts"))
}

/// The words of a command line.
pub fn words(line: &str, paths: &[&Path]) -> Vec<PathBuf> {
    let mut paths = paths.iter();
    let word = |word| match word {
        "{}" => paths.next().expect("a path for each {}").to_path_buf(),
        word => word.into(),
    };
    let words = line.split_whitespace().map(word).collect();
    assert!(paths.next().is_none(), "a {{}} for each path");
    words
}

/// An empty folder of this name.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("an earlier run's folder");
    }
    std::fs::create_dir_all(&path).expect("a folder for a test");
    path
}

/// A file in a folder.
pub fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file for a test");
    path
}

/// The nano model's file.
pub fn nano() -> &'static Path {
    static NANO: OnceLock<PathBuf> = OnceLock::new();
    NANO.get_or_init(|| file(&folder("model"), "nano.gguf", tunesmith_tests::models::nano_gguf()))
}

/// Reads a file.
pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().expect("a name in UTF-8")).collect();
    names.sort();
    names
}

/// The lines of a run's metrics without what differs between two runs: the time.
pub fn metrics(folder: &Path) -> Vec<Value> {
    let text = String::from_utf8(read(folder.join("metrics.jsonl"))).expect("metrics are UTF-8");
    let timeless = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("metrics are JSON");
        if line["event"] == "step" {
            let ms = line.as_object_mut().and_then(|line| line.remove("ms")).and_then(|ms| ms.as_f64());
            assert!(ms.expect("a step has its time") > 0.0);
        }
        line
    };
    text.lines().map(timeless).collect()
}
