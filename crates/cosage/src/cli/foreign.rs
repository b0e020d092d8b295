//! Texts from elsewhere, without what a terminal could take for an order.

/// A text from elsewhere on one line, without characters that steer a terminal.
pub(super) fn plain(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(visible).collect();
    lines.join(" ")
}

/// A text from elsewhere with its lines, each behind `indent`.
pub(super) fn indented(text: &str, indent: &str) -> String {
    text.lines()
        .map(|line| format!("{indent}{}\n", visible(line)))
        .collect()
}

fn visible(line: &str) -> String {
    line.chars()
        .map(|character| match character {
            '\t' => ' ',
            character if character.is_control() => char::REPLACEMENT_CHARACTER,
            character => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc\u{7}"), "a\u{fffd}[31mb c\u{fffd}");
        assert_eq!(indented("a\tb\n\u{9b}c\n", "  "), "  a b\n  \u{fffd}c\n");
    }
}
