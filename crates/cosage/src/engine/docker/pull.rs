//! Fetching an image from its registry.

use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::super::{ContainerSpec, EngineError};
use super::Docker;
use super::client::limited;

/// How long a pull may be silent. Its whole duration has no limit but the caller's patience.
const PULL_SILENCE: Duration = Duration::from_secs(120);

/// How often the progress of a pull is told.
const PULL_REPORT: Duration = Duration::from_secs(5);

impl Docker {
    /// Fetches the image. Every failure but a full disk and a cancellation is a missing image.
    pub(super) async fn pull(
        &self,
        container: &ContainerSpec,
        cancel: &CancellationToken,
    ) -> Result<(), EngineError> {
        let image = &container.image;
        let options = CreateImageOptionsBuilder::default()
            .from_image(&with_tag(image))
            .build();
        let docker = self.client.get()?;
        let mut progress = std::pin::pin!(docker.create_image(Some(options), None, None));
        tracing::info!(image, "pulling");
        let mut reported = Instant::now();
        loop {
            let step = tokio::select! {
                step = limited(PULL_SILENCE, progress.try_next()) => step,
                () = cancel.cancelled() => return Err(EngineError::Cancelled),
            };
            match step {
                Ok(None) => return Ok(()),
                Ok(Some(step)) => {
                    if reported.elapsed() >= PULL_REPORT {
                        reported = Instant::now();
                        let (done, total) = step
                            .progress_detail
                            .map_or((None, None), |detail| (detail.current, detail.total));
                        tracing::info!(
                            image,
                            status = step.status,
                            layer = step.id,
                            done,
                            total,
                            "pulling"
                        );
                    }
                }
                Err(error) => {
                    let silent = matches!(error, Error::RequestTimeoutError);
                    return Err(match self.client.explain(error) {
                        full @ EngineError::OutOfDisk(_) => full,
                        EngineError::Unavailable(_) if silent => missing(
                            container,
                            &format!("no progress for {} s", PULL_SILENCE.as_secs()),
                        ),
                        EngineError::Refused(reason) | EngineError::OutOfResources(reason) => {
                            missing(container, &reason)
                        }
                        other => other,
                    });
                }
            }
        }
    }
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
