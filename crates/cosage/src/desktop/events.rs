//! What happens to desktops, for whoever listens.
//!
//! Events are the differences between one [`View`] of a desktop and the next. They are numbered,
//! and the last of them are remembered, so that a listener who was away can go on where it was.
//! A listener is no more than a position in that memory: one that does not keep up finds its place
//! taken by newer events, is told so, and costs nobody anything.
//!
//! That control was taken from all viewers, and what the applications inside report, is told in the same order. Reports may be large, so that fewer of them are
//! remembered than of the events that carry them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::view::{Phase, View};

/// How many events are remembered.
pub const REMEMBERED: usize = 4096;

/// How many bytes of reports are remembered.
const REPORTS_MAX: usize = 64 << 20;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was asked for, for the first time.
    Created,
    /// Its start got on.
    Progress,
    /// It answers.
    Ready,
    /// Somebody began to look at it.
    ViewerJoined,
    /// Somebody does not look at it any more.
    ViewerLeft,
    /// It has no viewer, and its idle timeout runs (or runs from the start again).
    Idle,
    /// It is being ended.
    Stopping,
    /// Nothing of it runs; with [`Phase::Forgotten`] there is nothing left of it at all.
    Gone,
    /// It could not be started, or ended by itself too soon.
    Failed,
    /// Control was taken from all its viewers, or given back.
    Takeover,
    /// A new last picture of it is kept.
    Picture,
    /// It was not used for long, and will be deleted unless it is.
    Expiring,
    /// Its application reports something.
    Report,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 13] = [
        Self::Created,
        Self::Progress,
        Self::Ready,
        Self::ViewerJoined,
        Self::ViewerLeft,
        Self::Idle,
        Self::Stopping,
        Self::Gone,
        Self::Failed,
        Self::Takeover,
        Self::Picture,
        Self::Expiring,
        Self::Report,
    ];

    /// What it is called outside.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Progress => "progress",
            Self::Ready => "ready",
            Self::ViewerJoined => "viewer_joined",
            Self::ViewerLeft => "viewer_left",
            Self::Idle => "idle",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
            Self::Failed => "failed",
            Self::Takeover => "takeover",
            Self::Picture => "picture",
            Self::Expiring => "expiring",
            Self::Report => "report",
        }
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number, counted from 1 in the life of the service's process.
    pub number: u64,
    /// What happened.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// What became of the desktop. Where several things happened at once, all of them show the
    /// same. With [`Kind::Report`], it may be older than what the event before shows.
    pub view: Arc<View>,
    /// With [`Kind::Report`], what is reported, as long as it is remembered.
    report: Option<Weak<Bytes>>,
}

impl Event {
    /// What the application reports, a JSON object; `None` when it is not remembered any more, and when this is no
    /// [`Kind::Report`].
    pub fn report(&self) -> Option<Arc<Bytes>> {
        self.report.as_ref()?.upgrade()
    }
}

/// What a listener hears.
#[derive(Clone, Debug)]
pub enum Heard {
    /// An event.
    Event(Arc<Event>),
    /// It did not keep up, and events are lost: what it knows has to be read anew.
    Missed,
}

/// All that happens in one life of the service's process.
pub struct Events {
    boot: String,
    log: Mutex<Log>,
    published: watch::Sender<()>,
    closing: CancellationToken,
}

#[derive(Default)]
struct Log {
    events: VecDeque<Arc<Event>>,
    /// The number of the newest event.
    last: u64,
    /// What the newest reports are, at most [`REPORTS_MAX`] bytes and one for each event.
    reports: VecDeque<Arc<Bytes>>,
    report_bytes: usize,
}

/// Somebody who listens.
pub struct Listener {
    events: Arc<Events>,
    published: watch::Receiver<()>,
    /// The number of the last event that was heard or passed over.
    position: u64,
    /// Whether it has yet to hear that events are lost.
    missed: bool,
    /// Lets it go.
    closing: CancellationToken,
}

impl Events {
    /// Nothing has happened yet. All listeners are let go when `closing` is cancelled.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self {
            boot: format!("{:016x}", rand::random::<u64>()),
            log: Mutex::default(),
            published: watch::Sender::new(()),
            closing,
        }
    }

    /// The name of this life of the process: letters and digits. Numbers of events mean nothing in
    /// another.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Tells what became of a desktop between two views of it.
    pub(super) fn publish_changes(&self, before: &View, after: &Arc<View>) {
        for kind in changes(before, after) {
            self.publish(kind, after);
        }
    }

    /// Tells one thing. Never waits for a listener.
    pub(crate) fn publish(&self, kind: Kind, view: &Arc<View>) {
        self.tell(kind, view, None);
    }

    /// Tells what an application reports, a JSON object. Never waits for a listener.
    pub(super) fn publish_report(&self, view: &Arc<View>, report: Bytes) {
        self.tell(Kind::Report, view, Some(Arc::new(report)));
    }

    fn tell(&self, kind: Kind, view: &Arc<View>, report: Option<Arc<Bytes>>) {
        let mut log = self.lock();
        log.last += 1;
        let event = Event {
            number: log.last,
            kind,
            at: Timestamp::now(),
            view: Arc::clone(view),
            report: report.as_ref().map(Arc::downgrade),
        };
        if let Some(report) = report {
            log.remember(report);
        }
        log.events.push_back(Arc::new(event));
        let oldest = (log.events.len() > REMEMBERED).then(|| log.events.pop_front());
        drop(log);
        self.published.send_replace(());
        // The last view of a desktop may be a large thing to drop; nobody waits for that.
        drop(oldest);
    }

    /// Listens from the event after number `after` on, or from now on where that one is not
    /// remembered any more, or none is given: then what is known so far has to be read elsewhere, and
    /// [`Heard::Missed`] comes first.
    pub fn listen(self: &Arc<Self>, after: Option<u64>) -> Listener {
        self.listen_until(after, self.closing.clone())
    }

    /// The same, for a listener that is let go by a token of its own: it may hear what happens while the service ends.
    pub fn listen_until(
        self: &Arc<Self>,
        after: Option<u64>,
        closing: CancellationToken,
    ) -> Listener {
        // Before the look at the numbers, so that it wakes the listener up for later ones.
        let published = self.published.subscribe();
        let log = self.lock();
        let known = after.filter(|after| log.remembers(*after));
        Listener {
            events: Arc::clone(self),
            published,
            position: known.unwrap_or(log.last),
            missed: known.is_none(),
            closing,
        }
    }

    // Every change of the log is sound also when it ends in a panic.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Whether all events after this number are there.
    fn remembers(&self, number: u64) -> bool {
        number <= self.last && self.last - number <= self.events.len() as u64
    }

    /// Keeps a report in place of older ones, so that large ones push out no events.
    fn remember(&mut self, report: Arc<Bytes>) {
        self.report_bytes += report.len();
        self.reports.push_back(report);
        while self.report_bytes > REPORTS_MAX || self.reports.len() > REMEMBERED {
            let Some(oldest) = self.reports.pop_front() else {
                return;
            };
            self.report_bytes -= oldest.len();
        }
    }

    /// The event with this number, if it is there.
    fn event(&self, number: u64) -> Option<&Arc<Event>> {
        let newer = usize::try_from(self.last.checked_sub(number)?).ok()?;
        self.events.get(self.events.len().checked_sub(newer + 1)?)
    }
}

impl Listener {
    /// The next thing to hear; `None` when the listener is let go. Nothing is lost when the future is
    /// dropped.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if self.closing.is_cancelled() {
                return None;
            }
            self.published.mark_unchanged();
            if let Some(heard) = self.next_known() {
                return Some(heard);
            }
            tokio::select! {
                () = self.closing.cancelled() => return None,
                // It cannot fail: the sender is held here.
                _ = self.published.changed() => {}
            }
        }
    }

    /// The next thing to hear, if it has happened, also after the listener is let go.
    pub fn next_known(&mut self) -> Option<Heard> {
        if std::mem::take(&mut self.missed) {
            return Some(Heard::Missed);
        }
        let log = self.events.lock();
        if !log.remembers(self.position) {
            self.position = log.last;
            return Some(Heard::Missed);
        }
        let event = log.event(self.position + 1)?;
        self.position = event.number;
        Some(Heard::Event(Arc::clone(event)))
    }

    /// Whether it has yet to hear that events are lost.
    pub fn has_missed(&self) -> bool {
        self.missed
    }

    /// Whether it is let go: [`Listener::next`] has nothing more to say.
    pub fn is_let_go(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// The number of the last event that was heard or passed over.
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// What happened between two views of a desktop, in its order.
fn changes(before: &View, after: &View) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let entered = before.phase != after.phase;
    match after.phase {
        Phase::Starting if after.progress.is_some() && after.progress != before.progress => {
            kinds.push(Kind::Progress);
        }
        Phase::Ready if entered => kinds.push(Kind::Ready),
        Phase::Stopping | Phase::Restarting if entered => kinds.push(Kind::Stopping),
        Phase::Asleep | Phase::Forgotten if entered => kinds.push(Kind::Gone),
        Phase::Failed if entered => kinds.push(Kind::Failed),
        _ => {}
    }
    // Those who waited for it come all at once, and its end parts it from all at once.
    let joined = after.viewers.saturating_sub(before.viewers);
    let left = before.viewers.saturating_sub(after.viewers);
    kinds.extend(std::iter::repeat_n(Kind::ViewerJoined, joined));
    kinds.extend(std::iter::repeat_n(Kind::ViewerLeft, left));
    let kept_by = |view: &View| view.viewers - view.guests;
    let waits = after.phase == Phase::Ready && !entered && kept_by(after) == 0;
    if waits && (kept_by(before) > 0 || before.until != after.until) {
        kinds.push(Kind::Idle);
    }
    if after.picture.is_some() && after.picture != before.picture {
        kinds.push(Kind::Picture);
    }
    kinds
}

#[cfg(test)]
mod tests;
