//! The `Range` header, by which a browser goes on with a download that broke off.

/// What part of a file to send.
#[derive(Debug, PartialEq)]
pub enum Part {
    /// All of it.
    Whole,
    /// `length` bytes from `start`.
    Some { start: u64, length: u64 },
    /// There is no such part.
    None,
}

/// Reads a `Range` header for a file of `size` bytes. A header that is not one simple range of bytes
/// asks for the whole file, as RFC 9110 has it.
pub fn part(header: Option<&str>, size: u64) -> Part {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Part::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Part::Whole };
    let (start, end) = match (number(first), number(last)) {
        (Some(start), Some(last)) if start <= last => (start, last.saturating_add(1).min(size)),
        (Some(start), None) if last.is_empty() => (start, size),
        (None, Some(count)) if first.is_empty() => (if count == 0 { size } else { size.saturating_sub(count) }, size),
        _ => return Part::Whole,
    };
    if start < end { Part::Some { start, length: end - start } } else { Part::None }
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(start: u64, length: u64) -> Part {
        Part::Some { start, length }
    }

    #[test]
    fn one_range_of_bytes() {
        assert_eq!(part(Some("bytes=0-9"), 100), some(0, 10));
        assert_eq!(part(Some("bytes=10-"), 100), some(10, 90));
        assert_eq!(part(Some("bytes=-10"), 100), some(90, 10));
        assert_eq!(part(Some("bytes=90-1000"), 100), some(90, 10));
        assert_eq!(part(Some("bytes=-1000"), 100), some(0, 100));
        assert_eq!(part(Some("bytes=99-99"), 100), some(99, 1));
        assert_eq!(part(Some("bytes=0-18446744073709551615"), 100), some(0, 100));
    }

    #[test]
    fn a_part_that_is_not_there() {
        assert_eq!(part(Some("bytes=100-"), 100), Part::None);
        assert_eq!(part(Some("bytes=100-200"), 100), Part::None);
        assert_eq!(part(Some("bytes=-0"), 100), Part::None);
        assert_eq!(part(Some("bytes=0-"), 0), Part::None);
    }

    #[test]
    fn anything_else_is_the_whole() {
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=9-1", "bytes=a-b", "bytes=+1-2", "bytes=0-1,5-6", "rows=0-1"]
        {
            assert_eq!(part(Some(header), 100), Part::Whole, "{header}");
        }
        assert_eq!(part(None, 100), Part::Whole);
    }
}
