use proptest::prelude::*;
use tokio::time::timeout;

use super::super::Environment;
use super::super::record::{DesktopRecord, StoredDesktop};
use super::*;
use crate::desktop::end::EndReason;
use crate::desktop::view::Progress;
use crate::engine::StartStep;

fn view() -> View {
    View::stored(
        &StoredDesktop::new(DesktopRecord {
            uid: "a".parse().unwrap(),
            app: "desk".to_owned(),
            environment: Environment::default(),
            created_at: Timestamp::UNIX_EPOCH,
        }),
        None,
    )
}

fn ready(viewers: usize, until: i64) -> View {
    View {
        phase: Phase::Ready,
        viewers,
        until: Some((Timestamp::from_second(until).unwrap(), EndReason::Idle)),
        ..view()
    }
}

fn starting(progress: Option<Progress>) -> View {
    View {
        phase: Phase::Starting,
        progress,
        ..view()
    }
}

fn in_phase(phase: Phase) -> View {
    View { phase, ..view() }
}

fn pictured(at: i64) -> View {
    View {
        picture: Some(Timestamp::from_second(at).unwrap()),
        ..in_phase(Phase::Stopping)
    }
}

fn events() -> Arc<Events> {
    Arc::new(Events::new(CancellationToken::new()))
}

async fn number(listener: &mut Listener) -> Option<u64> {
    match listener.next().await {
        Some(Heard::Event(event)) => Some(event.number),
        Some(Heard::Missed) | None => None,
    }
}

#[test]
fn a_life_is_told_in_its_order() {
    let queued = Progress::Engine(StartStep::Queued);
    let life = [
        (in_phase(Phase::Asleep), vec![]),
        (starting(None), vec![]),
        (starting(Some(queued)), vec![Kind::Progress]),
        (starting(Some(queued)), vec![]),
        (starting(Some(Progress::Waiting)), vec![Kind::Progress]),
        (ready(0, 10), vec![Kind::Ready]),
        (ready(0, 10), vec![]),
        // Somebody was given its address again.
        (ready(0, 20), vec![Kind::Idle]),
        (ready(2, 60), vec![Kind::ViewerJoined, Kind::ViewerJoined]),
        (ready(1, 60), vec![Kind::ViewerLeft]),
        (ready(0, 30), vec![Kind::ViewerLeft, Kind::Idle]),
        (ready(1, 60), vec![Kind::ViewerJoined]),
        (
            in_phase(Phase::Restarting),
            vec![Kind::Stopping, Kind::ViewerLeft],
        ),
        (starting(Some(queued)), vec![Kind::Progress]),
        (ready(1, 60), vec![Kind::Ready, Kind::ViewerJoined]),
        (
            in_phase(Phase::Stopping),
            vec![Kind::Stopping, Kind::ViewerLeft],
        ),
        (in_phase(Phase::Asleep), vec![Kind::Gone]),
        (starting(Some(queued)), vec![Kind::Progress]),
        (in_phase(Phase::Failed), vec![Kind::Failed]),
        (in_phase(Phase::Failed), vec![]),
        (in_phase(Phase::Stopping), vec![Kind::Stopping]),
        (pictured(1), vec![Kind::Picture]),
        (pictured(1), vec![]),
        (pictured(2), vec![Kind::Picture]),
        (in_phase(Phase::Forgotten), vec![Kind::Gone]),
        (in_phase(Phase::Forgotten), vec![]),
    ];
    for pair in life.windows(2) {
        let [(before, _), (after, expected)] = pair else {
            unreachable!("windows of two");
        };
        assert_eq!(changes(before, after), *expected, "{before:?} → {after:?}");
    }
}

proptest! {
    #[test]
    fn who_joined_and_did_not_leave_is_there(
        steps in proptest::collection::vec((any::<bool>(), 0_usize..5), 1..50),
    ) {
        let mut before = in_phase(Phase::Asleep);
        let mut there = 0;
        for (is_ready, viewers) in steps {
            let after = if is_ready { ready(viewers, 60) } else { in_phase(Phase::Stopping) };
            for kind in changes(&before, &after) {
                match kind {
                    Kind::ViewerJoined => there += 1,
                    Kind::ViewerLeft => there -= 1,
                    _ => {}
                }
            }
            prop_assert_eq!(there, after.viewers);
            before = after;
        }
    }
}

#[tokio::test]
async fn a_listener_goes_on_where_it_was() {
    let (events, view) = (events(), Arc::new(view()));
    for _ in 0..3 {
        events.publish(Kind::Ready, &view);
    }
    let mut listener = events.listen(Some(1));
    assert_eq!(number(&mut listener).await, Some(2));
    assert_eq!(number(&mut listener).await, Some(3));
    let (heard, ()) = tokio::join!(number(&mut listener), async {
        events.publish(Kind::Gone, &view);
    });
    assert_eq!((heard, listener.position()), (Some(4), 4));
}

#[tokio::test]
async fn who_has_no_place_in_the_memory_is_told_so() {
    let (events, view) = (events(), Arc::new(view()));
    for _ in 0..REMEMBERED + 2 {
        events.publish(Kind::Ready, &view);
    }
    let last = events.lock().last;
    // No place at all, one that was forgotten, and one that never was.
    for after in [None, Some(0), Some(1), Some(last + 1)] {
        let mut listener = events.listen(after);
        assert_eq!(listener.position(), last);
        assert!(matches!(listener.next().await, Some(Heard::Missed)));
    }
    let mut oldest = events.listen(Some(2));
    assert_eq!(number(&mut oldest).await, Some(3));
    // It does not keep up.
    for _ in 0..REMEMBERED {
        events.publish(Kind::Ready, &view);
    }
    assert!(matches!(oldest.next().await, Some(Heard::Missed)));
    events.publish(Kind::Ready, &view);
    assert_eq!(number(&mut oldest).await, Some(events.lock().last));
    assert_eq!(events.lock().events.len(), REMEMBERED);
}

#[tokio::test]
async fn large_reports_push_out_older_reports_and_no_events() {
    let (events, view) = (events(), Arc::new(view()));
    events.publish(Kind::Created, &view);
    let large = Bytes::from(vec![b' '; REPORTS_MAX / 4]);
    for _ in 0..6 {
        events.publish_report(&view, large.clone());
    }
    let mut listener = events.listen(Some(0));
    let mut remembered = Vec::new();
    for number in 1..=7 {
        let Some(Heard::Event(event)) = listener.next().await else {
            panic!("event {number} is lost");
        };
        assert_eq!(event.number, number);
        remembered.push(event.report().is_some());
    }
    assert_eq!(remembered, [false, false, false, true, true, true, true]);

    // Small ones, of which there are no more than events.
    for _ in 0..REMEMBERED {
        events.publish_report(&view, Bytes::from_static(b"{}"));
    }
    let log = events.lock();
    assert_eq!(log.reports.len(), REMEMBERED);
    assert_eq!(log.report_bytes, REMEMBERED * 2);
}

#[tokio::test]
async fn who_has_a_token_of_its_own_hears_what_happens_while_the_service_ends() {
    let (closing, own) = (CancellationToken::new(), CancellationToken::new());
    let events = Arc::new(Events::new(closing.clone()));
    let mut listener = events.listen_until(Some(0), own.clone());
    closing.cancel();
    let view = Arc::new(view());
    events.publish(Kind::ViewerLeft, &view);
    assert_eq!(number(&mut listener).await, Some(1));
    events.publish(Kind::Idle, &view);
    own.cancel();
    assert!(listener.next().await.is_none());
    assert!(matches!(listener.next_known(), Some(Heard::Event(event)) if event.number == 2));
    assert!(listener.next_known().is_none());
}

#[tokio::test(start_paused = true)]
async fn everybody_is_let_go_when_the_service_ends() {
    let closing = CancellationToken::new();
    let events = Arc::new(Events::new(closing.clone()));
    let mut listener = events.listen(Some(0));
    let waits = timeout(std::time::Duration::from_secs(60), listener.next()).await;
    assert!(waits.is_err(), "{waits:?}");
    let (heard, ()) = tokio::join!(listener.next(), async { closing.cancel() });
    assert!(heard.is_none());
    events.publish(Kind::Ready, &Arc::new(view()));
    assert!(listener.next().await.is_none());
}
