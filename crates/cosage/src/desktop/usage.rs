//! What running desktops use of their host, measured only while somebody listens.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::Uid;
use super::context::Context;
use super::registry::Registry;
use crate::engine::{Engine, InstanceId, Usage};
use crate::supervise::caught;

/// How often listeners are told.
const PERIOD: Duration = Duration::from_secs(2);

/// What each running desktop uses, as far as the engine has told.
pub type Readings = BTreeMap<Uid, Usage>;

/// The one place where it is measured, whatever the number of listeners.
pub(super) struct Meter {
    readings: watch::Sender<Arc<Readings>>,
    /// Held while a listener comes, and while the task that measures looks whether it may end, so that
    /// no listener is left without one.
    measuring: Mutex<bool>,
}

/// Somebody who wants to know.
pub struct Listener(watch::Receiver<Arc<Readings>>);

/// The measurement of one instance; ends when it is dropped.
struct Gauge {
    uid: Uid,
    latest: watch::Receiver<Option<Usage>>,
    task: AbortOnDropHandle<()>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            readings: watch::Sender::new(Arc::default()),
            measuring: Mutex::default(),
        }
    }
}

impl Meter {
    /// Listens to what the running desktops use. It is measured until the last listener is
    /// dropped.
    pub(super) fn listen(
        self: &Arc<Self>,
        context: &Arc<Context>,
        registry: &Arc<Registry>,
    ) -> Listener {
        let mut measuring = self.lock();
        let readings = self.readings.subscribe();
        if !*measuring {
            *measuring = true;
            let (meter, context) = (Arc::clone(self), Arc::clone(context));
            let registry = Arc::clone(registry);
            tokio::spawn(async move {
                // Somebody still listens.
                while caught(measure(&meter, &context, &registry)).await.is_err() {
                    tokio::time::sleep(PERIOD).await;
                }
            });
        }
        Listener(readings)
    }
}

impl Listener {
    /// What they use, about every two seconds for as long as any runs; pending otherwise. Nothing is lost
    /// when the future is dropped.
    pub async fn next(&mut self) -> Arc<Readings> {
        loop {
            if self.0.changed().await.is_err() {
                // The service is gone.
                return std::future::pending().await;
            }
            let readings = Arc::clone(&self.0.borrow_and_update());
            if !readings.is_empty() {
                return readings;
            }
        }
    }
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.measuring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody listens any more; then somebody who comes later has to begin anew.
    fn is_done(&self) -> bool {
        let mut measuring = self.lock();
        *measuring = self.readings.receiver_count() > 0;
        !*measuring
    }
}

async fn measure(meter: &Meter, context: &Context, registry: &Registry) {
    let mut gauges = HashMap::new();
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {
                follow(&context.engine, registry, &mut gauges);
                meter.readings.send_replace(Arc::new(read(&gauges)));
            }
            () = meter.readings.closed() => {
                if meter.is_done() {
                    return;
                }
            }
            () = context.ended.cancelled() => return,
        }
    }
}

/// Begins to measure what runs and is not measured yet (or not any more), and stops with what does not
/// run.
fn follow(engine: &Arc<dyn Engine>, registry: &Registry, gauges: &mut HashMap<InstanceId, Gauge>) {
    let mut before = std::mem::take(gauges);
    for view in registry.views() {
        let Some(instance) = &view.instance else {
            continue;
        };
        let id = instance.id.clone();
        let kept = before.remove(&id).filter(|gauge| !gauge.task.is_finished());
        let gauge = kept.unwrap_or_else(|| Gauge::begin(engine, &view.record.uid, &id));
        gauges.insert(id, gauge);
    }
}

fn read(gauges: &HashMap<InstanceId, Gauge>) -> Readings {
    let measured = gauges.values();
    measured
        .filter_map(|gauge| Some((gauge.uid.clone(), (*gauge.latest.borrow())?)))
        .collect()
}

impl Gauge {
    fn begin(engine: &Arc<dyn Engine>, uid: &Uid, id: &InstanceId) -> Self {
        let (engine, id) = (Arc::clone(engine), id.clone());
        let (sender, latest) = watch::channel(None);
        let task = tokio::spawn(async move {
            let Ok(meter) = engine.meter() else {
                return;
            };
            let mut usage = meter.usage(&id);
            while let Some(usage) = usage.next().await {
                sender.send_replace(Some(usage));
            }
        });
        Self {
            uid: uid.clone(),
            latest,
            task: AbortOnDropHandle::new(task),
        }
    }
}
