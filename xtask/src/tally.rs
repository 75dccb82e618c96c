//! Counts tests by the closing lines of the runners that ran them.

/// How many tests passed, failed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Tally {
    /// Adds what a line of a runner's output says, if it is a closing line of cargo test, vitest or node.
    pub fn read(&mut self, line: &str) {
        let line = without_colours(line);
        let line = line.trim();
        if let Some(counts) = line.strip_prefix("test result: ") {
            // test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
            self.add(counts.split_once(". ").map_or("", |(_, counts)| counts).split(';'));
        } else if let Some(counts) = line.strip_prefix("Tests ") {
            //   Tests  1 failed | 11 passed | 2 skipped (14)
            self.add(counts.split('(').next().unwrap_or_default().split('|'));
        } else if let Some(count) = line.strip_prefix("ℹ ") {
            // ℹ pass 3
            let reversed = count.split_once(' ').map(|(what, count)| format!("{count} {what}")).unwrap_or_default();
            self.add([reversed.as_str()].into_iter());
        }
    }

    fn add<'a>(&mut self, counts: impl Iterator<Item = &'a str>) {
        for count in counts {
            let mut words = count.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
            match what {
                "passed" | "pass" => self.passed += count,
                "failed" | "fail" | "cancelled" => self.failed += count,
                "ignored" | "skipped" | "todo" => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// The line without the terminal's colour codes.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default();
    parts.fold(first.to_owned(), |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> (u64, u64, u64) {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.read(line));
        (tally.passed, tally.failed, tally.skipped)
    }

    #[test]
    fn cargo_test() {
        let text = "\
running 3 tests
test a_test_result ... ok
test result: FAILED. 2 passed; 1 failed; 4 ignored; 5 measured; 6 filtered out; finished in 0.01s
test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s";
        assert_eq!(tally(text), (12, 1, 4));
    }

    #[test]
    fn vitest() {
        let text = "
 Test Files  1 failed | 2 passed (3)
      Tests  1 failed | 11 passed | 2 skipped (14)
   Start at  12:00:00";
        assert_eq!(tally(text), (11, 1, 2));
        assert_eq!(
            tally("\u{1b}[2m      Tests \u{1b}[22m \u{1b}[1m\u{1b}[32m12 passed\u{1b}[39m\u{1b}[22m (12)"),
            (12, 0, 0)
        );
    }

    #[test]
    fn node() {
        let text = "
✔ the page loads (12.3ms)
ℹ tests 7
ℹ suites 0
ℹ pass 3
ℹ fail 1
ℹ cancelled 1
ℹ skipped 1
ℹ todo 1
ℹ duration_ms 100";
        assert_eq!(tally(text), (3, 2, 2));
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(tally("Tests are good\n5 passed\ntest result: unclear\nℹ pass\n"), (0, 0, 0));
    }
}
