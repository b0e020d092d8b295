//! How people write sizes, spans of time and names: shared by the catalogue and the configuration.

use std::time::Duration;

/// The widest and highest screen of a desktop, in pixels: what pictures can be taken of (`pictures.rs`).
pub const SCREEN_SIDE_MAX: u16 = 16_384;

/// The most pixels of a screen, for the same reason.
pub const SCREEN_AREA_MAX: u32 = 8192 * 4320;

/// The longest span of time a setting can have: ten years. Everything below fits every clock and
/// counter that it is handed on to.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const SIZE_UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// What was wrong with a text, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Reads a size such as `512MiB`: a whole number and `KiB`, `MiB`, `GiB` or `TiB`. Gives bytes.
pub fn parse_bytes(text: &str) -> Result<u64, Malformed> {
    let (digits, unit) = split_number(text);
    let bytes = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, factor)| digits.parse::<u64>().ok()?.checked_mul(*factor));
    bytes.ok_or_else(|| {
        let meant = match unit.trim().to_ascii_lowercase().as_str() {
            "k" | "kb" | "kib" => Some("KiB"),
            "m" | "mb" | "mib" => Some("MiB"),
            "g" | "gb" | "gib" => Some("GiB"),
            "t" | "tb" | "tib" => Some("TiB"),
            _ => None,
        };
        let example = match meant {
            Some(meant) if !digits.is_empty() && meant != unit => format!("{digits}{meant}"),
            _ => "2GiB".to_owned(),
        };
        Malformed(format!(
            "'{}' is not a size; write a whole number and KiB, MiB, GiB or TiB, such as \"{example}\"",
            excerpt(text)
        ))
    })
}

/// Reads the size of a screen in pixels, such as `3840x2160`.
///
/// # Errors
/// It is not one, or larger than any of which a picture can be taken: 16384 a side, and 8192 by 4320 in all.
pub fn parse_screen_size(text: &str) -> Result<(u16, u16), Malformed> {
    let side = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let side = digits.parse::<u16>().ok().filter(|_| plain)?;
        (1..=SCREEN_SIDE_MAX).contains(&side).then_some(side)
    };
    let size = text
        .split_once('x')
        .and_then(|(width, height)| Some((side(width)?, side(height)?)))
        .filter(|(width, height)| u32::from(*width) * u32::from(*height) <= SCREEN_AREA_MAX);
    size.ok_or_else(|| {
        Malformed(format!(
            "'{}' is not the size of a screen; write width and height in pixels, such as \"3840x2160\", with at most 16384 \
             a side and as many pixels as 8192x4320",
            excerpt(text)
        ))
    })
}

/// Writes a size the way [`parse_bytes`] reads it; one that is no multiple of 1 KiB is written in
/// bytes.
pub fn format_bytes(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes} bytes"),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// Reads a span of time such as `15s`: a whole number and `ms`, `s`, `m`, `h` or `d`; at most
/// [`LONGEST`].
pub fn parse_duration(text: &str) -> Result<Duration, Malformed> {
    let (digits, unit) = split_number(text);
    let duration = TIME_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, factor)| digits.parse::<u64>().ok()?.checked_mul(*factor))
        .map(Duration::from_millis);
    match duration {
        Some(duration) if duration <= LONGEST => Ok(duration),
        Some(_) => Err(Malformed(format!(
            "'{}' is longer than ten years, the most there is",
            excerpt(text)
        ))),
        None => Err(Malformed(format!(
            "'{}' is not a span of time; write a whole number and ms, s, m, h or d, such as \"15s\"",
            excerpt(text)
        ))),
    }
}

/// Reads a span of time as [`parse_duration`] does, or `never`, which is `None`.
pub fn parse_timer(text: &str) -> Result<Option<Duration>, Malformed> {
    if text == "never" {
        return Ok(None);
    }
    parse_duration(text)
        .map(Some)
        .map_err(|Malformed(message)| Malformed(format!("{message}, or \"never\"")))
}

/// Writes a span of time the way [`parse_duration`] reads it, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    TIME_UNITS
        .iter()
        .find(|(_, factor)| milliseconds.is_multiple_of(u128::from(*factor)))
        .map_or_else(String::new, |(unit, factor)| {
            format!("{}{unit}", milliseconds / u128::from(*factor))
        })
}

/// Writes a timer the way [`parse_timer`] reads it.
pub fn format_timer(timer: Option<Duration>) -> String {
    timer.map_or_else(|| "never".to_owned(), format_duration)
}

/// The candidate that somebody who wrote `given` most probably meant; `None` when none is near.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = fold(given);
    // A third of the letters may be wrong: enough for a slip, too little to suggest another word.
    let tolerance = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&given, &fold(candidate));
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The start of a text, on one line and without control characters, to be quoted in a message.
pub fn excerpt(text: &str) -> String {
    const LENGTH: usize = 40;
    let mut short: String = text
        .chars()
        .take(LENGTH)
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    if text.chars().nth(LENGTH).is_some() {
        short.push('…');
    }
    short
}

/// `" (did you mean 'x'?)"`, or nothing.
pub fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!(" (did you mean '{nearest}'?)")
    })
}

/// Line and character in it, both from 1, of a byte of a text.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn fold(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn screens_have_a_width_and_a_height_within_what_pictures_can_be_taken_of() {
        for (text, size) in [
            ("3840x2160", (3840, 2160)),
            ("1x1", (1, 1)),
            ("8192x4320", (8192, 4320)),
            ("2160x16384", (2160, 16384)),
        ] {
            assert_eq!(parse_screen_size(text), Ok(size));
        }
        for wrong in [
            "",
            "x",
            "3840",
            "3840x",
            "3840X2160",
            "3840 x 2160",
            "+1x1",
            "0x1",
            "1x0",
            "16385x1",
            "8192x4321",
            "1x1x1",
            "99999999999x1",
        ] {
            let Err(Malformed(message)) = parse_screen_size(wrong) else {
                panic!("{wrong} was taken")
            };
            assert!(message.contains("\"3840x2160\""), "{message}");
        }
    }

    #[test]
    fn sizes_are_whole_binary_numbers() {
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("64KiB"), Ok(64 << 10));
        for wrong in [
            "2 GB",
            "2GB",
            "2g",
            "2048",
            "",
            "GiB",
            "-1GiB",
            "1.5GiB",
            "99999999TiB",
        ] {
            assert!(parse_bytes(wrong).is_err(), "{wrong} was taken");
        }
        let Err(Malformed(message)) = parse_bytes("2 GB") else {
            panic!("2 GB was taken")
        };
        assert!(message.contains("\"2GiB\""), "{message}");
        let Err(Malformed(message)) = parse_bytes("300m") else {
            panic!("300m was taken")
        };
        assert!(message.contains("\"300MiB\""), "{message}");
    }

    #[test]
    fn spans_of_time_have_a_unit_and_an_end() {
        assert_eq!(parse_duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("3650d"), Ok(LONGEST));
        for wrong in [
            "15",
            "",
            "s",
            "15 s",
            "1.5s",
            "3651d",
            "never",
            "18446744073709551615d",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong} was taken");
        }
        assert_eq!(parse_timer("never"), Ok(None));
        assert!(parse_timer("Never").is_err());
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["firefox", "blender", "vnc-connect"];
        assert_eq!(nearest("firefix", names), Some("firefox"));
        assert_eq!(nearest("Blender", names), Some("blender"));
        assert_eq!(nearest("vnc_connect", names), Some("vnc-connect"));
        assert_eq!(nearest("libreoffice", names), None);
        assert_eq!(nearest("", names), None);
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt("a\nb"), "a\u{fffd}b");
        assert_eq!(excerpt(&"x".repeat(500)).chars().count(), 41);
    }

    proptest! {
        #[test]
        fn sizes_are_read_as_they_are_written(kibibytes in 1u64..1 << 50) {
            let bytes = kibibytes << 10;
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn spans_of_time_are_read_as_they_are_written(
            milliseconds in 0u64..LONGEST.as_secs() * 1000,
        ) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in any::<String>()) {
            let _ = (parse_bytes(&text), parse_timer(&text), nearest(&text, ["a"]), excerpt(&text));
        }
    }
}
