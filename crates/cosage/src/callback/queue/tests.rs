use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::delivery::LONGEST_PAUSE;

/// A destination that records what it is sent, and answers as it is told: then with success.
#[derive(Clone, Default)]
struct Recorder {
    heard: Arc<Mutex<Vec<(Instant, String, Value)>>>,
    answers: Arc<Mutex<VecDeque<DeliveryError>>>,
    takes: Duration,
    panics: Arc<AtomicBool>,
}

#[async_trait]
impl Destination for Recorder {
    async fn put(&self, uid: &Uid, report: Bytes) -> Result<(), DeliveryError> {
        let report = serde_json::from_slice(&report).unwrap();
        let heard = (Instant::now(), uid.to_string(), report);
        self.heard.lock().unwrap().push(heard);
        sleep(self.takes).await;
        assert!(!self.panics.swap(false, Ordering::Relaxed), "as asked for");
        match self.answers.lock().unwrap().pop_front() {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }
}

impl Recorder {
    fn refusing(answers: impl IntoIterator<Item = DeliveryError>) -> Self {
        let recorder = Self::default();
        recorder.answers.lock().unwrap().extend(answers);
        recorder
    }

    fn heard(&self) -> Vec<(String, Value)> {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .map(|(_, uid, report)| (uid.clone(), report.clone()))
            .collect()
    }
}

fn refusal(trouble: Trouble, after: Option<Duration>) -> DeliveryError {
    DeliveryError::Later {
        trouble,
        reason: "told so".into(),
        after,
    }
}

fn later() -> DeliveryError {
    refusal(Trouble::Away, None)
}

fn queue_of(recorder: &Recorder) -> Queue {
    Queue::new(recorder.clone(), Pace::unlimited())
}

fn take(queue: &Queue, uid: &str, report: &Value) -> Result<(), Full> {
    queue.take(uid.parse().unwrap(), report.to_string().into())
}

/// Until nothing waits any more, without telling the queue that the service ends.
async fn settled(queue: &Queue) {
    queue.inner.deliveries.close();
    queue.inner.deliveries.wait().await;
}

#[tokio::test(start_paused = true)]
async fn quick_successions_become_one_report_and_the_newest_value_counts() {
    let recorder = Recorder::default();
    let queue = queue_of(&recorder);
    for urls in 0..20 {
        take(&queue, "a", &json!({"state.urls": urls})).unwrap();
    }
    take(&queue, "a", &json!({"state.lastImage": "x"})).unwrap();
    take(&queue, "b", &json!({"state.urls": "other"})).unwrap();
    settled(&queue).await;
    let mut heard = recorder.heard();
    heard.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(
        heard,
        [
            (
                "a".to_owned(),
                json!({"state.urls": 19, "state.lastImage": "x"})
            ),
            ("b".to_owned(), json!({"state.urls": "other"})),
        ]
    );
    assert_eq!((queue.len(), queue.inner.waiting().bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_comes_again_in_order_with_what_was_taken_meanwhile() {
    let recorder = Recorder {
        takes: Duration::from_secs(1),
        ..Recorder::refusing([later(), later()])
    };
    let queue = queue_of(&recorder);
    take(&queue, "a", &json!({"k": 1, "old": true})).unwrap();
    sleep(QUIET + Duration::from_millis(500)).await;
    take(&queue, "a", &json!({"k": 2})).unwrap();
    settled(&queue).await;
    let heard = recorder.heard();
    let reports: Vec<&Value> = heard.iter().map(|(_, report)| report).collect();
    let merged = json!({"k": 2, "old": true});
    assert_eq!(reports, [&json!({"k": 1, "old": true}), &merged, &merged]);
    assert_eq!((queue.len(), queue.inner.waiting().bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_desktop_that_is_refused_for_good_costs_one_attempt() {
    let recorder = Recorder::refusing([DeliveryError::Never("404".into())]);
    let queue = queue_of(&recorder);
    take(&queue, "a", &json!({"k": 1})).unwrap();
    settled(&queue).await;
    assert_eq!(recorder.heard().len(), 1);
    assert_eq!(queue.inner.waiting().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_is_tried_less_and_less_often_until_the_bound() {
    let recorder = Recorder::refusing(std::iter::repeat_n(later(), 10_000));
    let queue = queue_of(&recorder);
    let start = Instant::now();
    take(&queue, "a", &json!({"k": 1})).unwrap();
    settled(&queue).await;
    let times: Vec<Instant> = recorder.heard.lock().unwrap().iter().map(|h| h.0).collect();
    assert!((20..60).contains(&times.len()), "{} attempts", times.len());
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.max().unwrap() <= LONGEST_PAUSE + QUIET);
    let given_up = start.elapsed();
    assert!(given_up >= DELIVERY_BOUND, "{given_up:?}");
    assert!(
        given_up <= DELIVERY_BOUND + LONGEST_PAUSE + QUIET * 2,
        "{given_up:?}"
    );
    assert_eq!((queue.len(), queue.inner.waiting().bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_service_waits_for_no_long_pause() {
    let recorder = Recorder::refusing(std::iter::repeat_n(later(), 10));
    let queue = queue_of(&recorder);
    take(&queue, "a", &json!({"k": 1})).unwrap();
    // Long enough for the pauses to have become long.
    sleep(Duration::from_secs(20)).await;
    recorder.answers.lock().unwrap().clear();
    let ending = Instant::now();
    queue.drained().await;
    assert!(ending.elapsed() <= ENDING_PAUSE * 2);
    assert_eq!(queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_service_drops_what_the_destination_wants_later() {
    let too_many = refusal(Trouble::TooMany, Some(Duration::from_secs(300)));
    let recorder = Recorder::refusing([too_many]);
    let queue = queue_of(&recorder);
    for uid in ["a", "b", "c"] {
        take(&queue, uid, &json!({"k": 1})).unwrap();
    }
    while recorder.heard().is_empty() {
        sleep(QUIET).await;
    }
    let ending = Instant::now();
    queue.drained().await;
    assert_eq!(ending, Instant::now());
    assert_eq!((queue.len(), queue.inner.waiting().bytes), (0, 0));
    assert_eq!(queue.inner.waiting().given_up, 3);
    assert_eq!(recorder.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_in_number_and_bytes() {
    let recorder = Recorder::default();
    let queue = queue_of(&recorder);
    let large = |key: usize| json!({ key.to_string(): "x".repeat(4 << 20) });
    assert_eq!(take(&queue, "a", &large(0)), Ok(()));
    // The same key takes no more room, another one does.
    assert_eq!(take(&queue, "a", &large(0)), Ok(()));
    assert_eq!(take(&queue, "a", &large(1)), Err(Full));
    let taken = (0..32)
        .filter(|number| take(&queue, &format!("b{number}"), &large(0)).is_ok())
        .count();
    assert_eq!(taken, 14);

    let queue = queue_of(&Recorder::default());
    for number in 0..DESKTOPS_MAX {
        take(&queue, &format!("c{number}"), &json!({})).unwrap();
    }
    assert_eq!(take(&queue, "one-more", &json!({})), Err(Full));
    assert_eq!(take(&queue, "c0", &json!({})), Ok(()));
}

/// Waits until nothing of the desktop waits.
async fn delivered(queue: &Queue, uid: &str) {
    let uid: Uid = uid.parse().unwrap();
    while queue.inner.waiting().reports.contains_key(&uid) {
        sleep(QUIET).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_that_the_destination_fails_at_is_tried_a_few_times_and_the_next_one_once() {
    let failed = || refusal(Trouble::Failed, None);
    let recorder = Recorder::refusing(std::iter::repeat_n(failed(), 100));
    let queue = queue_of(&recorder);
    let start = Instant::now();
    take(&queue, "deleted", &json!({"k": 1})).unwrap();
    delivered(&queue, "deleted").await;
    assert_eq!(recorder.heard().len(), ATTEMPTS_MAX as usize);
    assert!(start.elapsed() < Duration::from_secs(10));
    for number in 0..10 {
        take(&queue, "deleted", &json!({ "k": number })).unwrap();
        delivered(&queue, "deleted").await;
    }
    assert_eq!(recorder.heard().len(), ATTEMPTS_MAX as usize + 10);
    assert_eq!((queue.len(), queue.inner.waiting().bytes), (0, 0));

    // Once one is taken, it is as any other.
    recorder.answers.lock().unwrap().clear();
    take(&queue, "deleted", &json!({"k": "taken"})).unwrap();
    delivered(&queue, "deleted").await;
    let answers = std::iter::repeat_n(failed(), 2);
    recorder.answers.lock().unwrap().extend(answers);
    take(&queue, "deleted", &json!({"k": "at last"})).unwrap();
    settled(&queue).await;
    let last = recorder.heard().split_off(ATTEMPTS_MAX as usize + 11);
    assert_eq!(last.len(), 3, "{last:?}");
}

/// Fails at one desktop's reports and takes all others.
struct WithoutOne(Recorder);

#[async_trait]
impl Destination for WithoutOne {
    async fn put(&self, uid: &Uid, report: Bytes) -> Result<(), DeliveryError> {
        let taken = self.0.put(uid, report).await;
        if uid.as_str() == "deleted" {
            return Err(refusal(Trouble::Failed, None));
        }
        taken
    }
}

#[tokio::test(start_paused = true)]
async fn one_deleted_application_slows_no_other_down() {
    let recorder = Recorder::default();
    let pace = Pace::new(Duration::from_millis(200), 20);
    let queue = Queue::new(WithoutOne(recorder.clone()), pace);
    let start = Instant::now();
    take(&queue, "deleted", &json!({"k": 1})).unwrap();
    sleep(QUIET * 2).await;
    for number in 0..10 {
        take(&queue, &format!("d{number}"), &json!({"k": 1})).unwrap();
    }
    for number in 0..10 {
        delivered(&queue, &format!("d{number}")).await;
    }
    // No longer than without it: the time in which reports are merged, and the end of it.
    assert!(start.elapsed() <= QUIET * 6, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_hold_all_desktops_for_as_long_as_the_destination_says() {
    let after = Duration::from_secs(40);
    let recorder = Recorder::refusing([refusal(Trouble::TooMany, Some(after))]);
    let queue = queue_of(&recorder);
    let start = Instant::now();
    take(&queue, "a", &json!({"k": 1})).unwrap();
    sleep(QUIET * 2).await;
    assert_eq!(recorder.heard().len(), 1);
    take(&queue, "a", &json!({"k": 2})).unwrap();
    take(&queue, "b", &json!({"k": 3})).unwrap();
    settled(&queue).await;
    let heard = recorder.heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 3, "{heard:?}");
    for (at, _, _) in &heard[1..] {
        assert!(*at - start >= after);
    }
    let newest = heard[1..].iter().find(|(_, uid, _)| uid == "a").unwrap();
    assert_eq!(
        newest.2,
        json!({"k": 2}),
        "the newest state is what is sent"
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_desktops_together_stay_below_the_limit_of_calls() {
    let recorder = Recorder::default();
    let pace = Pace::new(Duration::from_millis(200), 20);
    let queue = Queue::new(recorder.clone(), pace);
    for number in 0..1000 {
        take(&queue, &format!("d{number}"), &json!({"k": 1})).unwrap();
    }
    // What comes while others are in front replaces what waits.
    sleep(Duration::from_secs(1)).await;
    take(&queue, "d999", &json!({"k": "new"})).unwrap();
    settled(&queue).await;
    let heard = recorder.heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 1000);
    let minute = Duration::from_secs(60);
    for (at, _, _) in &heard {
        let within = heard
            .iter()
            .filter(|(other, _, _)| (*at..*at + minute).contains(other));
        assert!(within.count() < 400);
    }
    let newest = heard.iter().find(|(_, uid, _)| uid == "d999").unwrap();
    assert_eq!(newest.2, json!({"k": "new"}));
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_report_and_the_next_is_delivered() {
    let recorder = Recorder::default();
    recorder.panics.store(true, Ordering::Relaxed);
    let queue = queue_of(&recorder);
    take(&queue, "a", &json!({"state.urls": 1})).unwrap();
    settled(&queue).await;
    assert_eq!((queue.len(), queue.inner.waiting().bytes), (0, 0));
    queue.inner.deliveries.reopen();
    take(&queue, "a", &json!({"state.urls": 2})).unwrap();
    settled(&queue).await;
    let expected = [1, 2].map(|urls| ("a".to_owned(), json!({"state.urls": urls})));
    assert_eq!(recorder.heard(), expected);
}
