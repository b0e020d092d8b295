use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::delivery::{LONGEST_PAUSE, LONGEST_RETRY_AFTER, Trouble};
use crate::desktop::Environment;
use crate::desktop::events::{Event, Events, REMEMBERED};
use crate::desktop::record::{DesktopRecord, StoredDesktop};
use crate::desktop::view::View;

/// One attempt: when, with which id, and what.
type Attempt = (Instant, String, String);

/// A destination that records what it is sent, and answers as it is told: then with success.
#[derive(Clone, Default)]
struct Recorder {
    heard: watch::Sender<Vec<Attempt>>,
    answers: Arc<Mutex<VecDeque<Result<(), DeliveryError>>>>,
}

#[async_trait]
impl Destination for Recorder {
    async fn post(&self, message: &Message) -> Result<(), DeliveryError> {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let kind = body["type"].as_str().unwrap().to_owned();
        let attempt = (Instant::now(), message.id.clone(), kind);
        self.heard.send_modify(|heard| heard.push(attempt));
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }
}

impl Recorder {
    fn answering(answers: impl IntoIterator<Item = Result<(), DeliveryError>>) -> Self {
        let recorder = Self::default();
        recorder.answers.lock().unwrap().extend(answers);
        recorder
    }

    async fn wait_until(&self, is_so: impl FnMut(&Vec<Attempt>) -> bool) {
        let mut heard = self.heard.subscribe();
        // Nothing takes a day, not even by the clock of tests.
        let limit = Duration::from_secs(24 * 3600);
        timeout(limit, heard.wait_for(is_so))
            .await
            .unwrap()
            .unwrap();
    }

    /// Waits until it was asked so many times.
    async fn attempts(&self, count: usize) {
        self.wait_until(|heard| heard.len() >= count).await;
    }

    /// Ids without the service's name, and types.
    fn heard(&self) -> Vec<(String, String)> {
        let heard = self.heard.borrow();
        heard
            .iter()
            .map(|(_, id, kind)| (id.strip_prefix("boot-").unwrap().to_owned(), kind.clone()))
            .collect()
    }

    fn times(&self) -> Vec<Instant> {
        self.heard.borrow().iter().map(|(at, _, _)| *at).collect()
    }
}

fn later() -> Result<(), DeliveryError> {
    Err(DeliveryError::Later {
        trouble: Trouble::Away,
        reason: "503".into(),
        after: None,
    })
}

/// A service without desktops, in which something happens all the same.
struct Scene {
    events: Arc<Events>,
    view: Arc<View>,
    ending: CancellationToken,
    recorder: Recorder,
    task: JoinHandle<()>,
}

impl Scene {
    /// Whatever happens is encoded as its type, and reports never are.
    fn new(recorder: Recorder) -> Self {
        let events = Arc::new(Events::new(CancellationToken::new()));
        let ending = CancellationToken::new();
        let view = Arc::new(View::stored(
            &StoredDesktop::new(DesktopRecord {
                uid: "a".parse().unwrap(),
                app: "desk".to_owned(),
                environment: Environment::default(),
                created_at: Timestamp::UNIX_EPOCH,
            }),
            None,
        ));
        let kinds = Kind::ALL.into_iter();
        let receiver = Receiver {
            number: 1,
            shown: "https://hooks.example.org".to_owned(),
            kinds: kinds.filter(|kind| *kind != Kind::Progress).collect(),
            post: Box::new(recorder.clone()),
            ending: ending.clone(),
        };
        let encode = |event: &Event| {
            let body = json!({ "type": event.kind.word() }).to_string();
            (event.kind != Kind::Report).then(|| Bytes::from(body))
        };
        let listener = events.listen_until(None, ending.clone());
        let task = tokio::spawn(async move { receiver.run(listener, "boot", &encode).await });
        Self {
            events,
            view,
            ending,
            recorder,
            task,
        }
    }

    fn happens(&self, kind: Kind) {
        self.events.publish(kind, &self.view);
    }

    /// Ends it, and answers all that was heard: ids without the service's name, and types.
    async fn end(self) -> Vec<(String, String)> {
        self.ending.cancel();
        self.task.await.unwrap();
        self.recorder.heard()
    }
}

fn heard<'a>(list: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let list = list.into_iter();
    list.map(|(id, kind)| (id.to_owned(), kind.to_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_comes_in_order_behind_a_reset() {
    let scene = Scene::new(Recorder::default());
    for kind in [Kind::Created, Kind::Progress, Kind::Progress, Kind::Ready] {
        scene.happens(kind);
    }
    scene.recorder.attempts(3).await;
    scene.happens(Kind::Gone);
    assert_eq!(
        scene.end().await,
        heard([
            ("0-reset", "reset"),
            ("1", "created"),
            ("4", "ready"),
            ("5", "gone")
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_comes_again_before_anything_else() {
    let scene = Scene::new(Recorder::answering([Ok(()), later(), later(), Ok(())]));
    scene.happens(Kind::Created);
    scene.happens(Kind::Ready);
    scene.recorder.attempts(5).await;
    assert_eq!(
        scene.end().await,
        heard([
            ("0-reset", "reset"),
            ("1", "created"),
            ("1", "created"),
            ("1", "created"),
            ("2", "ready")
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_dropped_and_the_next_one_comes() {
    let refused = Err(DeliveryError::Never("400".into()));
    let scene = Scene::new(Recorder::answering([Ok(()), refused]));
    scene.happens(Kind::Created);
    scene.happens(Kind::Ready);
    assert_eq!(
        scene.end().await,
        heard([("0-reset", "reset"), ("1", "created"), ("2", "ready")])
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_gets_nothing_more() {
    let scene = Scene::new(Recorder::answering([Ok(()), Err(DeliveryError::Gone)]));
    scene.happens(Kind::Created);
    scene.happens(Kind::Ready);
    // Without being told that the service ends.
    timeout(DELIVERY_BOUND, scene.task).await.unwrap().unwrap();
    assert_eq!(
        scene.recorder.heard(),
        heard([("0-reset", "reset"), ("1", "created")])
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_is_tried_less_and_less_often_for_an_hour_and_then_missed() {
    let scene = Scene::new(Recorder::answering(
        std::iter::once(Ok(())).chain(std::iter::repeat_n(later(), 10_000)),
    ));
    scene.happens(Kind::Created);
    scene.happens(Kind::Ready);
    let begun = Instant::now();
    scene
        .recorder
        .wait_until(|heard| heard.last().is_some_and(|(_, id, _)| id == "boot-1-reset"))
        .await;
    let tried_for = begun.elapsed();
    assert!(tried_for >= DELIVERY_BOUND, "{tried_for:?}");
    assert!(tried_for <= DELIVERY_BOUND + LONGEST_PAUSE, "{tried_for:?}");
    let times = scene.recorder.times();
    assert!(
        (120..260).contains(&times.len()),
        "{} attempts",
        times.len()
    );
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] <= LONGEST_PAUSE)
    );
    // It is back, and hears that it missed something before it hears more.
    scene.recorder.answers.lock().unwrap().clear();
    let heard_all = scene.end().await;
    let taken = &heard_all[heard_all.len() - 2..];
    assert_eq!(taken, heard([("1-reset", "reset"), ("2", "ready")]));
}

#[tokio::test(start_paused = true)]
async fn who_falls_behind_the_memory_is_told_so_and_goes_on_with_what_is_new() {
    let scene = Scene::new(Recorder::answering([Ok(()), later()]));
    scene.happens(Kind::Created);
    scene.recorder.attempts(2).await;
    for _ in 0..=REMEMBERED {
        scene.happens(Kind::Ready);
    }
    scene.recorder.attempts(4).await;
    scene.happens(Kind::Gone);
    let (last, next) = (REMEMBERED + 2, REMEMBERED + 3);
    assert_eq!(
        scene.end().await,
        heard([
            ("0-reset", "reset"),
            ("1", "created"),
            ("1", "created"),
            (&format!("{last}-reset"), "reset"),
            (&next.to_string(), "gone")
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_remembered_any_more_is_missed_in_its_place() {
    let scene = Scene::new(Recorder::default());
    for kind in [Kind::Created, Kind::Report, Kind::Ready] {
        scene.happens(kind);
    }
    assert_eq!(
        scene.end().await,
        heard([
            ("0-reset", "reset"),
            ("1", "created"),
            ("2-reset", "reset"),
            ("3", "ready")
        ])
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_says_when_to_come_back() {
    let asked = Err(DeliveryError::Later {
        trouble: Trouble::Away,
        reason: "429".into(),
        after: Some(LONGEST_RETRY_AFTER),
    });
    let scene = Scene::new(Recorder::answering([asked]));
    scene.recorder.attempts(2).await;
    let times = scene.recorder.times();
    // The clock of tests counts milliseconds, and rounds up.
    let waited = times[1] - times[0];
    assert!(waited >= LONGEST_RETRY_AFTER, "{waited:?}");
    assert!(
        waited < LONGEST_RETRY_AFTER + Duration::from_secs(1),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_service_waits_for_no_long_pause_and_for_everything_that_happened() {
    let scene = Scene::new(Recorder::answering(std::iter::repeat_n(later(), 10)));
    scene.happens(Kind::Created);
    // Long enough for the pauses to have become long.
    sleep(Duration::from_secs(20)).await;
    scene.recorder.answers.lock().unwrap().clear();
    scene.happens(Kind::Gone);
    let ending = Instant::now();
    let heard_all = scene.end().await;
    assert!(ending.elapsed() <= ENDING_PAUSE * 2);
    let taken = &heard_all[heard_all.len() - 3..];
    assert_eq!(
        taken,
        heard([("0-reset", "reset"), ("1", "created"), ("2", "gone")])
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a receiver answers, nothing overtakes, nothing that was not refused is left out, and nothing is sent again
    /// once it is settled.
    #[test]
    fn the_order_holds_whatever_is_answered(
        answers in proptest::collection::vec(0..4_u8, 0..60),
        count in 1..30_u64,
    ) {
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| match answer {
                0 => Err(DeliveryError::Never("400".into())),
                1 => later(),
                2 => Err(DeliveryError::Later { trouble: Trouble::TooMany, reason: "429".into(), after: Some(Duration::from_secs(7)) }),
                _ => Ok(()),
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let heard = runtime.block_on(async {
            let scene = Scene::new(Recorder::answering(answers.clone()));
            for _ in 0..count {
                scene.happens(Kind::Ready);
            }
            scene.end().await
        });
        let settled: Vec<_> = heard
            .iter()
            .zip(answers.into_iter().chain(std::iter::repeat(Ok(()))))
            .filter(|(_, answer)| !matches!(answer, Err(DeliveryError::Later { .. })))
            .map(|((id, _), _)| id.clone())
            .collect();
        let expected: Vec<_> = std::iter::once("0-reset".to_owned())
            .chain((1..=count).map(|number| number.to_string()))
            .collect();
        prop_assert_eq!(settled, expected);
    }
}
