//! What a person should know about rows that are used all the same.

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its stable name: "unread" or "control-token".
    pub code: &'static str,
    /// In plain words.
    pub message: String,
}

/// Rows that have something in common: the line of the first, and their number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lines {
    /// The line of the first.
    pub line: usize,
    count: usize,
}

impl Lines {
    /// One more, in this line.
    pub fn add(&mut self, line: usize) {
        if self.count == 0 {
            self.line = line;
        }
        self.count += 1;
    }

    /// A warning about them, if there are any.
    pub fn warning(&self, code: &'static str, file: &str, what: &str) -> Option<Warning> {
        let all = if self.count == 1 { String::new() } else { format!(" ({} rows)", self.count) };
        (self.count > 0).then(|| Warning { code, message: format!("{file}, line {}{all}: {what}", self.line) })
    }
}
