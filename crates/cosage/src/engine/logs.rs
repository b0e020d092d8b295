//! The bound that every engine keeps on what it gives of an instance's logs.

/// The most that [`super::Logs::last`] gives, in bytes.
pub(super) const LOGS_MAX_LEN: usize = 64 * 1024;

/// The end of a text, at most [`LOGS_MAX_LEN`], from the start of a line where it had to be cut.
pub(super) fn last_lines(text: &[u8]) -> String {
    let Some(cut) = text.len().checked_sub(LOGS_MAX_LEN).filter(|cut| *cut > 0) else {
        return String::from_utf8_lossy(text).into_owned();
    };
    let tail = text.get(cut..).unwrap_or_default();
    let line = tail
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    // Replacing broken characters makes a text longer, and the limit is one for the reader.
    let mut tail = String::from_utf8_lossy(tail.get(line..).unwrap_or_default()).into_owned();
    tail.truncate(tail.floor_char_boundary(LOGS_MAX_LEN));
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_logs_are_cut_at_a_line_and_keep_their_end() {
        let line = format!("{}\n", "x".repeat(999));
        let text = format!("{}the end\n", line.repeat(100));
        let cut = last_lines(text.as_bytes());
        assert!(cut.len() <= LOGS_MAX_LEN && cut.len() > LOGS_MAX_LEN - 1000);
        assert!(cut.starts_with(&line) && cut.ends_with("the end\n"));
        assert!(last_lines(&[0xff; 100_000]).len() <= LOGS_MAX_LEN);
        assert_eq!(last_lines(b"short"), "short");
    }
}
