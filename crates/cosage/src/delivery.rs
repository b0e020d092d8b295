//! Handing something over to another server: what its answer means, and when to try again.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause that nobody asked for.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause that a server may ask for.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The longest pause while the service ends.
pub(crate) const ENDING_PAUSE: Duration = Duration::from_millis(500);

/// Why something was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryError {
    /// It may be taken later.
    Later {
        /// What is wrong.
        trouble: Trouble,
        /// What happened.
        reason: String,
        /// How long to wait at least, where the server says so.
        after: Option<Duration>,
    },
    /// It will never be taken.
    Never(String),
    /// Nor will anything else: whoever took it is gone for good.
    Gone,
}

/// Why something was not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server cannot be reached, or takes nothing at present.
    Away,
    /// The server got too many requests, of whatever kind (429).
    TooMany,
    /// The server failed at this request (500): for a moment, or each time that it gets it.
    Failed,
}

/// A client of servers that take something. `answer_bound` is how long one may take to answer.
///
/// # Errors
/// When the TLS library cannot be set up.
pub(crate) fn client(answer_bound: Duration) -> Result<Client, reqwest::Error> {
    // Only the first call of a process sets it; what a second one finds is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(answer_bound)
        .user_agent(concat!("cosage/", env!("CARGO_PKG_VERSION")))
        // What is handed over is for the server that was configured, and for none that it may point to.
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Hands something over.
pub(crate) async fn send(request: RequestBuilder) -> Result<(), DeliveryError> {
    match request.send().await {
        Ok(answer) => judge(answer.status(), answer.headers()),
        Err(error) => Err(DeliveryError::Later {
            trouble: Trouble::Away,
            reason: cause(&error),
            after: None,
        }),
    }
}

/// What an answer means: what a server cannot do now it may do later; what it refuses, it will refuse again.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), DeliveryError> {
    if status.is_success() {
        return Ok(());
    }
    if status == StatusCode::GONE {
        return Err(DeliveryError::Gone);
    }
    let reason = format!("it answered {status}");
    let trouble = match status {
        StatusCode::TOO_MANY_REQUESTS => Trouble::TooMany,
        StatusCode::INTERNAL_SERVER_ERROR => Trouble::Failed,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => Trouble::Away,
        status if status.is_server_error() => Trouble::Away,
        _ => return Err(DeliveryError::Never(reason)),
    };
    Err(DeliveryError::Later {
        trouble,
        reason,
        after: retry_after(headers),
    })
}

/// `Retry-After` (RFC 9110, section 10.2.3) where it is a number of seconds; as a date it is rare, and needs clocks that
/// agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// The innermost of an error's causes, which is the one that says what happened.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    if error.is_timeout() {
        "it took too long".to_owned()
    } else if text.is_empty() {
        // Without the address, which may have a password in it.
        error
            .to_string()
            .replace(error.url().map_or("", reqwest::Url::as_str), "")
    } else {
        text
    }
}

/// The pause after a failure that had this many before it: doubled each time, and at random up to a half shorter, so that
/// not all come back at once; and not shorter than a server asks for.
pub(crate) fn pause_after(failures: u32, asked: Option<Duration>) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST_PAUSE);
    let own = longest.mul_f64(rand::random_range(0.5..=1.0));
    asked.map_or(own, |asked| asked.max(own))
}

/// Waits for the `usual` time, and for no longer than `at_the_end` once the service ends.
pub(crate) async fn pause(ending: &CancellationToken, usual: Duration, at_the_end: Duration) {
    tokio::select! {
        () = sleep(usual) => {}
        () = async { ending.cancelled().await; sleep(at_the_end).await } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<(), DeliveryError> {
        let headers = retry_after.map(|text| (RETRY_AFTER, text.parse().unwrap()));
        judge(
            StatusCode::from_u16(status).unwrap(),
            &headers.into_iter().collect(),
        )
    }

    #[test]
    fn what_a_server_cannot_do_now_is_tried_again_and_what_it_refuses_is_not() {
        for taken in [200, 202, 204, 299] {
            assert_eq!(answer(taken, None), Ok(()));
        }
        let trouble = |status| match answer(status, None) {
            Err(DeliveryError::Later {
                trouble,
                after: None,
                ..
            }) => trouble,
            other => panic!("{status}: {other:?}"),
        };
        for away in [501, 502, 503, 504, 425, 408] {
            assert_eq!(trouble(away), Trouble::Away, "{away}");
        }
        assert_eq!(trouble(429), Trouble::TooMany);
        assert_eq!(trouble(500), Trouble::Failed);
        for never in [301, 307, 400, 401, 404] {
            let answer = answer(never, None);
            assert!(matches!(answer, Err(DeliveryError::Never(_))), "{never}");
        }
        assert_eq!(answer(410, None), Err(DeliveryError::Gone));
    }

    #[test]
    fn a_server_says_when_to_come_back_and_not_for_ever() {
        let after = |text| match answer(503, Some(text)) {
            Err(DeliveryError::Later { after, .. }) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("0"), Some(Duration::ZERO));
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("4294967296"), Some(LONGEST_RETRY_AFTER));
        for unread in ["", "-1", "1.5", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(after(unread), None, "{unread}");
        }
        assert_eq!(
            pause_after(0, Some(LONGEST_RETRY_AFTER)),
            LONGEST_RETRY_AFTER
        );
        assert!(pause_after(0, Some(Duration::ZERO)) >= FIRST_PAUSE / 2);
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        for failures in [0, 1, 2, 5, 6, 7, 100, u32::MAX] {
            let pause = pause_after(failures, None);
            let longest = FIRST_PAUSE * 2_u32.pow(failures.min(6));
            assert!(pause <= longest.min(LONGEST_PAUSE), "{failures}: {pause:?}");
            assert!(
                pause >= longest.min(LONGEST_PAUSE) / 2,
                "{failures}: {pause:?}"
            );
        }
    }
}
