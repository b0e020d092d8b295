//! What every engine is held to about logs, usage and images, where it has them.

use std::time::Duration;

use cosage::desktop::Uid;
use cosage::engine::{EngineError, InstanceId};
use futures_util::StreamExt;

use super::{Subject, container, eventually, offered, start};

pub(super) async fn logs_are_the_last_lines(subject: Subject) {
    let engine = subject.engine();
    let Some(logs) = offered(engine.logs()) else {
        return;
    };
    let instance = start(&*engine, &subject.writer(&Uid::random(), 200)).await;
    subject.write(&instance.id, 200);
    eventually(async || {
        logs.last(&instance.id, 3).await == Ok("line 198\nline 199\nline 200\n".to_owned())
    })
    .await;
    assert_eq!(logs.last(&instance.id, 0).await, Ok(String::new()));
    let all = logs.last(&instance.id, 1000).await.unwrap();
    assert!(all.starts_with("line 1\n") && all.lines().count() == 200);
}

pub(super) async fn logs_are_bounded(subject: Subject) {
    let engine = subject.engine();
    let Some(logs) = offered(engine.logs()) else {
        return;
    };
    let instance = start(&*engine, &subject.writer(&Uid::random(), 20_000)).await;
    subject.write(&instance.id, 20_000);
    eventually(async || {
        let text = logs.last(&instance.id, 1_000_000).await.unwrap();
        assert!(text.len() <= 64 * 1024, "{} bytes", text.len());
        assert!(
            text.is_empty() || text.starts_with("line "),
            "cut in a line"
        );
        text.len() > 60_000 && text.ends_with("line 20000\n")
    })
    .await;
}

pub(super) async fn usage_is_measured_until_it_ends(subject: Subject) {
    let engine = subject.engine();
    let Some(meter) = offered(engine.meter()) else {
        return;
    };
    let instance = start(&*engine, &subject.desktop(&Uid::random())).await;
    let mut usage = meter.usage(&instance.id);
    for _ in 0..2 {
        let used = usage.next().await.unwrap();
        assert!((0.0..64.0).contains(&used.cpu), "{used:?}");
        assert!(used.memory > 1 << 20, "{used:?}");
        assert!(used.memory_limit >= Some(used.memory), "{used:?}");
    }
    engine.stop(&instance.id, Duration::ZERO).await.unwrap();
    while let Some(used) = usage.next().await {
        assert!(used.memory_limit.is_some(), "{used:?}");
    }
    assert_eq!(meter.usage(&instance.id).next().await, None);
}

pub(super) async fn logs_are_followed_to_the_end(subject: Subject) {
    let engine = subject.engine();
    let Some(logs) = offered(engine.logs()) else {
        return;
    };
    let instance = start(&*engine, &subject.writer(&Uid::random(), 200)).await;
    subject.write(&instance.id, 200);
    eventually(async || logs.last(&instance.id, 1).await == Ok("line 200\n".to_owned())).await;

    let mut followed = logs.follow(&instance.id, 2).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"line 200\n") {
        text.extend(followed.next().await.unwrap().unwrap());
    }
    assert_eq!(String::from_utf8(text).unwrap(), "line 199\nline 200\n");
    subject.end(&instance.id).await;
    let mut rest = Vec::new();
    while let Some(piece) = followed.next().await {
        rest.extend(piece.unwrap());
    }
    assert_eq!(String::from_utf8(rest).unwrap(), "the end\n");
}

pub(super) async fn nothing_has_no_logs_and_no_usage(subject: Subject) {
    let engine = subject.engine();
    let instance = start(&*engine, &subject.desktop(&Uid::random())).await;
    engine.stop(&instance.id, Duration::ZERO).await.unwrap();
    for nobody in [instance.id, InstanceId::random()] {
        if let Some(logs) = offered(engine.logs()) {
            assert_eq!(logs.last(&nobody, 1).await, Err(EngineError::Gone));
            let followed = logs.follow(&nobody, 1).await;
            assert_eq!(followed.err(), Some(EngineError::Gone));
        }
        if let Some(meter) = offered(engine.meter()) {
            assert_eq!(meter.usage(&nobody).next().await, None);
        }
    }
}

pub(super) async fn present_and_missing_images_are_told_apart(subject: Subject) {
    let engine = subject.engine();
    let Some(images) = offered(engine.images()) else {
        return;
    };
    let mut spec = subject.desktop(&Uid::random());
    assert_eq!(images.is_present(&container(&spec).image).await, Ok(true));
    subject.lose_image(&mut spec);
    assert_eq!(images.is_present(&container(&spec).image).await, Ok(false));
}
