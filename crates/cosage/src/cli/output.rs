//! What commands print: text for people, JSON for programs, and nothing that a terminal could take
//! for an order.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::failure::Failure;

/// Prints a text as it is.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write(text.as_bytes())
}

/// Prints one line.
pub(super) fn print_line(line: &str) -> Result<(), Failure> {
    write(format!("{line}\n").as_bytes())
}

/// Prints JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Failed(format!("the answer is no JSON: {error}")))?;
    print_line(&text)
}

/// Writes bytes, so that whoever reads has them at once.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// How long ago something was, or in how long it will be, in the largest unit that fits.
pub(super) fn distance(from: Timestamp, to: Timestamp) -> String {
    span(to.duration_since(from).as_secs().unsigned_abs())
}

fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        DAY.. => format!("{} d", seconds / DAY),
    }
}

/// A number of bytes, to about three digits.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_one_unit() {
        let told = [0, 59, 60, 3599, 3600, 86_399, 86_400, 900_000].map(span);
        assert_eq!(
            told,
            [
                "0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "10 d"
            ]
        );
    }
}
