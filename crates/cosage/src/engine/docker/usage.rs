//! What a container uses of its host, from the engine's own measurements, one a second.

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::TryStreamExt;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};

use super::super::{EngineError, InstanceId, Meter, Usage};
use super::Docker;
use super::client::{READ_LIMIT, limited};

impl Meter for Docker {
    /// Ends without a word when there is nothing to measure (any more) or the engine is away: whoever
    /// goes on wanting it asks again.
    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage> {
        stream::once(self.samples(instance))
            .filter_map(move |samples| {
                let samples = samples.inspect_err(|error| {
                    tracing::debug!(%instance, %error, "its usage cannot be measured");
                });
                std::future::ready(samples.ok())
            })
            .flatten()
            .scan(None::<Sample>, |before, sample| {
                let usage = before.replace(sample).map(|before| sample.since(&before));
                std::future::ready(Some(usage.flatten()))
            })
            .filter_map(std::future::ready)
            .boxed()
    }
}

impl Docker {
    async fn samples(
        &self,
        instance: &InstanceId,
    ) -> Result<impl Stream<Item = Sample>, EngineError> {
        let container = self.container_of(instance).await?;
        let options = StatsOptionsBuilder::default().stream(true).build();
        let measured = self.client.get()?.stats(&container, Some(options)).boxed();
        Ok(stream::unfold(measured, async |mut measured| {
            let next = limited(READ_LIMIT, measured.try_next()).await;
            Some((next.ok().flatten()?, measured))
        })
        .filter_map(async |measured| Sample::of(&measured)))
    }
}

/// One measurement: sums since the container was started, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    at: Timestamp,
    /// Processor time in nanoseconds.
    cpu: u64,
    /// In use now, in bytes.
    memory: u64,
    memory_limit: Option<u64>,
    /// Bytes.
    received: u64,
    sent: u64,
}

impl Sample {
    /// `None` for one of a container that does not run, in which the numbers are missing.
    fn of(measured: &ContainerStatsResponse) -> Option<Self> {
        let memory = measured.memory_stats.as_ref()?;
        let used = memory.usage?;
        // What `docker stats` leaves out (docker/cli, cli/command/container/stats_helpers.go): file
        // pages that the kernel gives back first. The name is of cgroup v1, or else of v2.
        let pages = memory.stats.as_ref().and_then(|stats| {
            ["total_inactive_file", "inactive_file"]
                .iter()
                .find_map(|name| stats.get(*name))
        });
        let networks = measured.networks.iter().flatten();
        let (received, sent) = networks.fold((0_u64, 0_u64), |(received, sent), (_, network)| {
            (
                received.saturating_add(network.rx_bytes.unwrap_or(0)),
                sent.saturating_add(network.tx_bytes.unwrap_or(0)),
            )
        });
        Some(Self {
            at: measured.read.as_ref()?.parse().ok()?,
            cpu: measured
                .cpu_stats
                .as_ref()?
                .cpu_usage
                .as_ref()?
                .total_usage?,
            memory: pages
                .and_then(|pages| used.checked_sub(*pages))
                .unwrap_or(used),
            memory_limit: memory.limit.filter(|limit| *limit > 0),
            received,
            sent,
        })
    }

    /// What was used from an earlier measurement to this one; `None` when no time lies between
    /// them.
    fn since(&self, before: &Self) -> Option<Usage> {
        let between = self.at.duration_since(before.at);
        if between <= SignedDuration::ZERO {
            return None;
        }
        let seconds = between.as_secs_f64();
        let per_second = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds) as u64;
        Some(Usage {
            cpu: self.cpu.saturating_sub(before.cpu) as f64 / 1e9 / seconds,
            memory: self.memory,
            memory_limit: self.memory_limit,
            received: per_second(self.received, before.received),
            sent: per_second(self.sent, before.sent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str) -> Option<Sample> {
        Sample::of(&serde_json::from_str(text).unwrap())
    }

    /// Two answers of Engine 20.10 on cgroup v1, down to what matters here.
    #[test]
    fn cores_and_bytes_a_second_are_of_the_time_between_two_measurements() {
        let first = sample(
            r#"{"read":"2026-11-24T20:19:27.5Z","preread":"0001-01-01T00:00:00Z","cpu_stats":{"cpu_usage":{"total_usage":76653500,"percpu_usage":[32743410,43910090],"usage_in_kernelmode":40000000,"usage_in_usermode":30000000},"system_cpu_usage":3726720000000,"online_cpus":2},"memory_stats":{"usage":20938752,"max_usage":20938752,"stats":{"inactive_file":112704,"rss":10358784,"total_inactive_file":712704},"limit":25276502016},"networks":{"eth0":{"rx_bytes":736,"rx_packets":8,"tx_bytes":0,"tx_packets":0}}}"#,
        )
        .unwrap();
        let second = sample(
            r#"{"read":"2026-11-24T20:19:29.5Z","preread":"2026-11-24T20:19:27.5Z","cpu_stats":{"cpu_usage":{"total_usage":3076653500},"system_cpu_usage":3728720000000,"online_cpus":2},"memory_stats":{"usage":20606976,"stats":{"total_inactive_file":712704},"limit":25276502016},"networks":{"eth0":{"rx_bytes":2736,"tx_bytes":4000},"eth1":{"rx_bytes":1000,"tx_bytes":0}}}"#,
        )
        .unwrap();
        assert_eq!(
            second.since(&first),
            Some(Usage {
                cpu: 1.5,
                memory: 20_606_976 - 712_704,
                memory_limit: Some(25_276_502_016),
                received: 1500,
                sent: 2000,
            })
        );
        assert_eq!(first.since(&first), None);
        assert_eq!(first.since(&second), None);
    }

    #[test]
    fn cgroup_v2_names_the_pages_otherwise() {
        let measured = |pages: u64| {
            let text = format!(
                r#"{{"read":"2026-11-24T20:19:27.5Z","cpu_stats":{{"cpu_usage":{{"total_usage":1}}}},"memory_stats":{{"usage":1000,"stats":{{"anon":600,"file":400,"inactive_file":{pages}}}}}}}"#
            );
            sample(&text).unwrap()
        };
        assert_eq!(
            (measured(300).memory, measured(300).memory_limit),
            (700, None)
        );
        assert_eq!(measured(1001).memory, 1000);
    }

    #[test]
    fn a_container_that_has_ended_has_no_numbers() {
        // What Engine 20.10 says of one.
        let ended = r#"{"read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{},"num_procs":0,"storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{}}"#;
        assert_eq!(sample(ended), None);
    }
}
