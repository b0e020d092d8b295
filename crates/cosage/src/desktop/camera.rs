//! When pictures of a desktop are taken, so that it can be shown when nobody can look at it any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

use super::Uid;
use super::lease::Lease;
use super::lifecycle::State;
use crate::engine::{Endpoint, Presence, Protocol};

/// How long somebody has to have looked until the first picture is taken: until then most apps have drawn what they
/// show.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// How often a picture is taken while somebody looks.
const PERIOD: Duration = Duration::from_secs(60);

/// How long a picture may take that holds nothing up.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a picture may hold up a stop.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The name of the stream that shows a desktop, where it has several that could.
const SHOWN_BY: &str = "vnc";

/// Takes pictures of desktops and keeps the last one of each.
#[async_trait]
pub trait Camera: Send + Sync + 'static {
    /// Takes a picture of the desktop that `lease` leads to, whether or not the lease has ended, and keeps it.
    ///
    /// Answers when it was taken; `None` when there was none to be had within `patience`, and then the one before
    /// stays.
    async fn keep(&self, lease: Lease, occasion: Occasion, patience: Duration)
    -> Option<Timestamp>;

    /// When the picture that is kept was taken.
    fn kept(&self, uid: &Uid) -> Option<Timestamp>;

    /// Deletes the picture that is kept.
    async fn forget(&self, uid: &Uid);
}

/// Why a picture is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody looks, and the last one is old.
    Looking,
    /// The last viewer has just left.
    Left,
    /// It is about to be stopped.
    Stopping,
}

/// Follows one desktop and says when a picture is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    /// It does not answer.
    #[default]
    Away,
    /// It has no viewer.
    Unused,
    /// Somebody looks, and the next picture is due then.
    Used { due: Instant },
}

impl Schedule {
    /// When to look again although nothing has happened.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.seen {
            Seen::Used { due } => Some(due),
            Seen::Away | Seen::Unused => None,
        }
    }

    /// Whether the desktop answered when it was last looked at.
    pub(super) fn was_ready(&self) -> bool {
        self.seen != Seen::Away
    }

    /// Looks at the desktop, after each event; the picture that is due now, if one is.
    pub(super) fn look(&mut self, state: &State, now: Instant) -> Option<Occasion> {
        if !matches!(state, State::Ready { .. }) {
            self.seen = Seen::Away;
            return None;
        }
        let (viewers, _) = state.viewers();
        match (viewers, self.seen) {
            (1.., Seen::Used { due }) if now < due => None,
            (1.., Seen::Used { .. }) => {
                self.seen = Seen::Used { due: now + PERIOD };
                Some(Occasion::Looking)
            }
            (1.., Seen::Away | Seen::Unused) => {
                self.seen = Seen::Used {
                    due: now + FIRST_LOOK,
                };
                None
            }
            (0, seen) => {
                self.seen = Seen::Unused;
                matches!(seen, Seen::Used { .. }).then_some(Occasion::Left)
            }
        }
    }
}

/// The stream that shows a desktop.
pub(super) fn shown_by(endpoints: &BTreeMap<String, Endpoint>) -> Option<&str> {
    let mut shows = endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.presence == Presence::Viewer)
        .map(|(name, _)| name.as_str());
    let first = shows.next()?;
    Some(shows.find(|name| *name == SHOWN_BY).unwrap_or(first))
}

/// Whether a picture may be taken on this occasion without being asked for. A VNC server elsewhere may well take one
/// client at a time only, and drop it for the next.
pub(super) fn disturbs_nobody(endpoint: &Endpoint, occasion: Occasion) -> bool {
    occasion != Occasion::Looking || endpoint.protocol != Protocol::Tcp
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::lifecycle::{Run, Use};
    use super::*;

    fn ready(in_use: Use) -> State {
        State::Ready {
            run: Run(1),
            since: Instant::now(),
            answers_since: Instant::now(),
            in_use,
            guests: 0,
        }
    }

    fn used() -> State {
        ready(Use::By(NonZeroUsize::MIN))
    }

    #[test]
    fn pictures_are_taken_while_somebody_looks_and_when_nobody_does_any_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = Schedule::default();
        let mut look = |state: &State, now| (schedule.look(state, now), schedule.due());

        assert_eq!(look(&State::Asleep, at(0)), (None, None));
        assert_eq!(look(&ready(Use::Expected(start)), at(0)), (None, None));
        assert_eq!(look(&used(), at(1)), (None, Some(at(11))));
        // Further viewers change nothing.
        let two = ready(Use::By(NonZeroUsize::MIN.saturating_add(1)));
        assert_eq!(look(&two, at(5)), (None, Some(at(11))));
        assert_eq!(look(&two, at(11)), (Some(Occasion::Looking), Some(at(71))));
        assert_eq!(look(&used(), at(70)), (None, Some(at(71))));
        assert_eq!(
            look(&used(), at(99)),
            (Some(Occasion::Looking), Some(at(159)))
        );

        let idle = ready(Use::IdleSince(at(100)));
        assert_eq!(look(&idle, at(100)), (Some(Occasion::Left), None));
        assert_eq!(look(&idle, at(200)), (None, None));
        assert_eq!(look(&used(), at(201)), (None, Some(at(211))));
    }

    #[test]
    fn a_desktop_that_ends_or_was_never_looked_at_is_left_alone() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        let starting = State::Starting {
            run: Run(1),
            exited: None,
        };
        assert_eq!(schedule.look(&starting, now), None);
        assert!(!schedule.was_ready());
        assert_eq!(schedule.look(&used(), now), None);
        assert!(schedule.was_ready());
        assert_eq!(schedule.look(&starting, now), None);
        assert_eq!((schedule.was_ready(), schedule.due()), (false, None));
        assert_eq!(schedule.look(&ready(Use::IdleSince(now)), now), None);
    }

    fn endpoint(protocol: Protocol, presence: Presence) -> Endpoint {
        Endpoint {
            address: ([127, 0, 0, 1], 5900).into(),
            protocol,
            path: String::new(),
            presence,
        }
    }

    #[test]
    fn a_server_elsewhere_is_left_alone_while_somebody_looks() {
        for protocol in [Protocol::Rfb, Protocol::Websocket, Protocol::Tcp] {
            let endpoint = endpoint(protocol, Presence::Viewer);
            assert!(disturbs_nobody(&endpoint, Occasion::Left));
            assert!(disturbs_nobody(&endpoint, Occasion::Stopping));
            let is_own = protocol != Protocol::Tcp;
            assert_eq!(disturbs_nobody(&endpoint, Occasion::Looking), is_own);
        }
    }

    #[test]
    fn what_shows_the_desktop_is_a_stream_that_viewers_look_at() {
        let endpoint = |presence| endpoint(Protocol::Rfb, presence);
        let mut endpoints = BTreeMap::from([("audio".to_owned(), endpoint(Presence::Listener))]);
        assert_eq!(shown_by(&endpoints), None);
        endpoints.insert("screen".to_owned(), endpoint(Presence::Viewer));
        assert_eq!(shown_by(&endpoints), Some("screen"));
        for name in ["another", "vnc"] {
            endpoints.insert(name.to_owned(), endpoint(Presence::Viewer));
        }
        assert_eq!(shown_by(&endpoints), Some("vnc"));
    }
}
