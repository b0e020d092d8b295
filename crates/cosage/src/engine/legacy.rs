//! Images of the old service, which end by themselves after a time without a client.

use std::time::Duration;

/// The variable by which an old image learns after how many seconds without a client it is to end by itself.
pub const TIMEOUT_VARIABLE: &str = "WS_TIMEOUT";

/// After how long without a client an instance ends by itself, by the variables it got, `NAME` and value; `None` where
/// they do not say.
pub fn own_timeout<'a>(
    mut variables: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<Duration> {
    let (_, seconds) = variables.find(|(name, _)| *name == TIMEOUT_VARIABLE)?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_is_whole_seconds_or_none() {
        let of = |value| own_timeout([("A", "1"), (TIMEOUT_VARIABLE, value)].into_iter());
        assert_eq!(of("15"), Some(Duration::from_secs(15)));
        assert_eq!(of(""), None);
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
        assert_eq!(own_timeout([("A", "15")].into_iter()), None);
    }
}
