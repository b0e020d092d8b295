//! Fetching an image from its registry.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::super::{ContainerSpec, EngineError, OnStep, StartStep};
use super::Docker;
use super::client::{Client, limited, status};

/// How long a pull may be silent. Its whole duration has no limit but the caller's patience.
const PULL_SILENCE: Duration = Duration::from_secs(120);

/// How often the progress of a pull is logged.
const PULL_REPORT: Duration = Duration::from_secs(5);

impl Docker {
    /// Fetches the image. Every failure but a full disk and a cancellation is a missing image.
    pub(super) async fn pull(
        &self,
        container: &ContainerSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<(), EngineError> {
        let image = &container.image;
        tracing::info!(image, "pulling");
        let mut logged = Instant::now();
        let fetched = fetch(&self.client, image, |percent| {
            on_step(StartStep::Pulling { percent });
            if logged.elapsed() >= PULL_REPORT {
                logged = Instant::now();
                tracing::info!(image, percent, "pulling");
            }
        });
        let outcome = tokio::select! {
            outcome = fetched => outcome,
            () = cancel.cancelled() => return Err(EngineError::Cancelled),
        };
        outcome.map_err(|error| match error {
            EngineError::Refused(reason) | EngineError::OutOfResources(reason) => {
                missing(container, &reason)
            }
            other => other,
        })
    }
}

/// Fetches an image, and tells how much of it is there (0 to 100, where that is known) as often as
/// that changes, first of all that it begins. One that cannot be had is [`EngineError::Refused`].
/// When the future is dropped, so is the pull.
pub(super) async fn fetch(
    client: &Client,
    image: &str,
    mut on_percent: impl FnMut(Option<u8>),
) -> Result<(), EngineError> {
    let options = CreateImageOptionsBuilder::default()
        .from_image(&with_tag(image))
        .build();
    let docker = client.get()?;
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, None));
    on_percent(None);
    let mut layers = Layers::default();
    loop {
        match limited(PULL_SILENCE, progress.try_next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(message)) => {
                // The engine tells of each layer ten times a second; most of that is no news.
                if layers.take(&message) {
                    on_percent(layers.percent);
                }
            }
            Err(Error::RequestTimeoutError) => {
                return Err(EngineError::Refused(format!(
                    "no progress for {} s",
                    PULL_SILENCE.as_secs()
                )));
            }
            Err(error) => {
                // The engine passes on what the registry answered.
                let answered = status(&error).is_some();
                return Err(match client.explain(error) {
                    EngineError::Unavailable(reason) if answered => EngineError::Refused(reason),
                    explained => explained,
                });
            }
        }
    }
}

/// How much of an image is there, from what the engine tells of its layers.
///
/// Bytes count, and a layer's download as much as its unpacking. The engine fetches a few layers at
/// a time and knows the size of no other: those are taken for as large as the known ones are on
/// average. Layers that were there before do not count.
#[derive(Debug, Default)]
struct Layers {
    layers: HashMap<String, Layer>,
    /// 0 to 100, never less than before; `None` while no size is known.
    percent: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    /// Its compressed size in bytes, once it is known.
    size: Option<u64>,
    /// How much of it was downloaded, and how much unpacked: 0 to 1 each.
    downloaded: f64,
    unpacked: f64,
}

impl Layers {
    /// Takes one message of the engine; says whether the percentage has changed.
    ///
    /// The messages are those that `docker pull` draws its bars from: Engine API, `POST
    /// /images/create`, and moby's `pkg/jsonmessage` and `distribution/xfer`. They are the same in
    /// all versions; containerd's image store leaves the total of `Extracting` out.
    fn take(&mut self, message: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&message.id, &message.status) else {
            return false;
        };
        let detail = message.progress_detail.as_ref();
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let current = number(detail.and_then(|detail| detail.current)).unwrap_or(0);
        let total = number(detail.and_then(|detail| detail.total)).filter(|total| *total > 0);
        let share = total.map_or(0.0, |total| ratio(current, total));
        let layer = match status.as_str() {
            "Pulling fs layer" | "Waiting" => {
                self.layers.entry(id.clone()).or_default();
                return false;
            }
            "Downloading" | "Verifying Checksum" | "Download complete" | "Extracting"
            | "Pull complete" => self.layers.entry(id.clone()).or_default(),
            "Already exists" => {
                self.layers.remove(id);
                return false;
            }
            // Such as the line with the image's tag.
            _ => return false,
        };
        match status.as_str() {
            "Downloading" => {
                layer.size = layer.size.or(total);
                layer.downloaded = layer.downloaded.max(share);
            }
            "Extracting" => {
                layer.size = layer.size.or(total);
                layer.downloaded = 1.0;
                layer.unpacked = layer.unpacked.max(share);
            }
            "Pull complete" => {
                layer.downloaded = 1.0;
                layer.unpacked = 1.0;
            }
            _ => layer.downloaded = 1.0,
        }
        let percent = self.count().max(self.percent);
        std::mem::replace(&mut self.percent, percent) != percent
    }

    fn count(&self) -> Option<u8> {
        let sizes = self.layers.values().filter_map(|layer| layer.size);
        let (known, bytes) = sizes.fold((0_u64, 0_u64), |(known, bytes), size| {
            (known + 1, bytes.saturating_add(size))
        });
        let average = bytes.checked_div(known)?.max(1);
        let (mut done, mut whole) = (0.0, 0.0);
        for layer in self.layers.values() {
            let size = layer.size.unwrap_or(average) as f64;
            done += size * (layer.downloaded + layer.unpacked) / 2.0;
            whole += size;
        }
        // In range, because no part is more than its whole; the conversion saturates besides.
        Some((100.0 * done / whole) as u8)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64).min(1.0)
}

fn missing(container: &ContainerSpec, reason: &str) -> EngineError {
    EngineError::ImageMissing {
        image: container.image.clone(),
        hint: format!(
            "{} (it could not be pulled: {reason})",
            container.image_hint
        ),
    }
}

/// The reference with the tag that it means: without one, the engine would fetch every tag.
fn with_tag(image: &str) -> String {
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    if name.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `POST /images/create` answered, a line each, down to what matters here.
    fn percentages(messages: &str) -> Vec<u8> {
        let mut layers = Layers::default();
        let mut told = Vec::new();
        for line in messages.lines() {
            if layers.take(&serde_json::from_str(line).unwrap()) {
                told.extend(layers.percent);
            }
        }
        told
    }

    #[test]
    fn a_recorded_pull_goes_from_little_to_all() {
        // Three layers of 60, 5 and 20 MB on some that were there.
        let told = percentages(include_str!("pull/engine-20.10.jsonl"));
        assert_eq!(told, [0, 3, 14, 15, 16, 29, 40, 50, 61, 74, 85, 88, 100]);
    }

    #[test]
    fn the_percentage_is_of_the_bytes_of_all_layers() {
        let told = percentages(
            r#"{"status":"Pulling from library/two","id":"latest"}
{"status":"Already exists","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"bc0734b949dc"}
{"status":"Pulling fs layer","progressDetail":{},"id":"b5de22c0f5cd"}
{"status":"Waiting","progressDetail":{},"id":"b5de22c0f5cd"}
{"status":"Downloading","progressDetail":{"current":3000,"total":30000},"progress":"[=====>      ]      3kB/30kB","id":"bc0734b949dc"}
{"status":"Downloading","progressDetail":{"current":30000,"total":30000},"progress":"[==========>]     30kB/30kB","id":"bc0734b949dc"}
{"status":"Verifying Checksum","progressDetail":{},"id":"bc0734b949dc"}
{"status":"Download complete","progressDetail":{},"id":"bc0734b949dc"}
{"status":"Extracting","progressDetail":{"current":15000,"total":30000},"progress":"[=====>     ]      15kB/30kB","id":"bc0734b949dc"}
{"status":"Downloading","progressDetail":{"current":10000,"total":10000},"progress":"[==========>]     10kB/10kB","id":"b5de22c0f5cd"}
{"status":"Download complete","progressDetail":{},"id":"b5de22c0f5cd"}
{"status":"Extracting","progressDetail":{"current":30000,"total":30000},"progress":"[==========>]     30kB/30kB","id":"bc0734b949dc"}
{"status":"Pull complete","progressDetail":{},"id":"bc0734b949dc"}
{"status":"Extracting","progressDetail":{"current":10000,"total":10000},"progress":"[==========>]     10kB/10kB","id":"b5de22c0f5cd"}
{"status":"Pull complete","progressDetail":{},"id":"b5de22c0f5cd"}
{"status":"Digest: sha256:00"}
{"status":"Status: Downloaded newer image for two:latest"}"#,
        );
        // The second layer counts as 30 kB until its size is known, and as 10 kB from then on.
        assert_eq!(told, [2, 25, 37, 68, 87, 100]);
    }

    #[test]
    fn a_percentage_never_goes_down_and_is_none_while_no_size_is_known() {
        // As containerd's image store tells it: no total while it unpacks.
        let told = percentages(
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"small"}
{"status":"Pulling fs layer","progressDetail":{},"id":"large"}
{"status":"Downloading","progressDetail":{"current":10,"total":0},"id":"small"}
{"status":"Downloading","progressDetail":{"current":-1,"total":-1},"id":"small"}
{"status":"Downloading","progressDetail":{"current":100,"total":100},"id":"small"}
{"status":"Downloading","progressDetail":{"current":1,"total":10000},"id":"large"}
{"status":"Retrying in 5 seconds","progressDetail":{},"id":"large"}
{"status":"Downloading","progressDetail":{"current":5000,"total":10000},"id":"large"}
{"status":"Downloading","progressDetail":{"current":1000,"total":10000},"id":"large"}
{"status":"Extracting","progressDetail":{"current":1,"units":"s"},"id":"large"}
{"status":"Pull complete","progressDetail":{},"id":"large"}
{"status":"Pull complete","progressDetail":{},"id":"small"}"#,
        );
        assert_eq!(told, [25, 50, 99, 100]);
    }

    #[test]
    fn a_reference_without_a_tag_means_the_latest() {
        assert_eq!(with_tag("firefox"), "firefox:latest");
        assert_eq!(
            with_tag("host:5000/a/firefox"),
            "host:5000/a/firefox:latest"
        );
        assert_eq!(with_tag("host:5000/a/firefox:1"), "host:5000/a/firefox:1");
        assert_eq!(with_tag("a/firefox@sha256:00"), "a/firefox@sha256:00");
    }
}
