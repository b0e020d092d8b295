//! Desktops that are VNC servers elsewhere. None of them has a container; the gateway dials them,
//! as far as the operator's list of networks goes.
//!
//! Whoever may start desktops chooses the target, so this is what keeps the service from being used
//! to reach what only its host can reach. A name is resolved once, and what is dialled is the
//! address that was checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{
    Endpoint, Engine, EngineError, EngineEvent, Exit, Found, Homes, Images, Instance, InstanceId,
    LaunchSpec, LogStream, Logs, Meter, OnStep, Presence, RemoteSpec, StartStep, Usage, Workload,
};

/// How long the resolution of a name may take.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// An engine that also has remote desktops.
pub struct WithRemotes {
    inner: Arc<dyn Engine>,
    allowed: Vec<IpNet>,
    remotes: Mutex<BTreeMap<InstanceId, Instance>>,
}

impl WithRemotes {
    /// Leaves everything but remote desktops to `inner`. Targets are those in `allowed`; a network
    /// there does not allow the special addresses in it (loopback, link-local, multicast, a cloud's
    /// metadata service) unless all of it is within one range of those.
    pub fn new(inner: Arc<dyn Engine>, allowed: Vec<IpNet>) -> Self {
        Self {
            inner,
            allowed,
            remotes: Mutex::default(),
        }
    }

    /// Every change of the map is one step, so it is sound also after a panic elsewhere.
    fn remotes(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Instance>> {
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn resolve(&self, remote: &RemoteSpec) -> Result<SocketAddr, EngineError> {
        let host = remote.host.trim_matches(['[', ']']);
        let refused = |text: String| Err(EngineError::TargetRefused(text));
        if let Ok(address) = host.parse::<IpAddr>() {
            return match permit(&self.allowed, address) {
                Ok(address) => Ok(SocketAddr::new(address, remote.port)),
                Err(reason) => refused(format!("{host} may not be dialled: {reason}")),
            };
        }
        let lookup = tokio::net::lookup_host((host, remote.port));
        let addresses = match tokio::time::timeout(RESOLVE_LIMIT, lookup).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return refused(format!("'{host}' could not be resolved: {error}")),
            Err(_) => {
                return refused(format!(
                    "'{host}' could not be resolved within {} s",
                    RESOLVE_LIMIT.as_secs()
                ));
            }
        };
        for address in addresses {
            match permit(&self.allowed, address.ip()) {
                Ok(allowed) => return Ok(SocketAddr::new(allowed, remote.port)),
                // The caller is not told what a name of the operator's network resolves to.
                Err(reason) => {
                    tracing::info!(host, address = %address.ip(), %reason, "a target is refused")
                }
            }
        }
        refused(format!(
            "'{host}' may not be dialled: none of its addresses is in a network that COSAGE_REMOTE_NETWORKS allows; the operator can add one"
        ))
    }
}

#[async_trait]
impl Engine for WithRemotes {
    async fn start(
        &self,
        spec: &LaunchSpec,
        cancel: &CancellationToken,
        on_step: OnStep<'_>,
    ) -> Result<Instance, EngineError> {
        let Workload::Remote(remote) = &spec.workload else {
            return self.inner.start(spec, cancel, on_step).await;
        };
        let address = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(EngineError::Cancelled),
            address = self.resolve(remote) => address?,
        };
        let (stream, protocol) = remote.stream.clone();
        let endpoint = Endpoint {
            address,
            protocol,
            path: String::new(),
            presence: Presence::Viewer,
        };
        let instance = Instance {
            id: spec.instance.clone(),
            uid: spec.uid.clone(),
            app: spec.app.clone(),
            key: spec.key,
            endpoints: BTreeMap::from([(stream, endpoint)]),
            password: None,
            callback: None,
            home_is_new: false,
            started_at: Timestamp::now(),
            own_timeout: None,
        };
        // From here on there is something to stop.
        on_step(StartStep::Starting);
        self.remotes()
            .insert(spec.instance.clone(), instance.clone());
        Ok(instance)
    }

    async fn stop(&self, instance: &InstanceId, grace: Duration) -> Result<(), EngineError> {
        if self.remotes().remove(instance).is_some() {
            return Ok(());
        }
        self.inner.stop(instance, grace).await
    }

    async fn list(&self) -> Result<Vec<Found>, EngineError> {
        let mut found = self.inner.list().await?;
        found.extend(self.remotes().values().cloned().map(Found::Running));
        Ok(found)
    }

    async fn exit(&self, instance: &InstanceId) -> Result<Option<Exit>, EngineError> {
        if self.remotes().contains_key(instance) {
            return Ok(None);
        }
        self.inner.exit(instance).await
    }

    fn events(&self) -> BoxStream<'static, EngineEvent> {
        self.inner.events()
    }

    fn logs(&self) -> Result<&dyn Logs, EngineError> {
        self.inner.logs().map(|_| self as &dyn Logs)
    }

    fn meter(&self) -> Result<&dyn Meter, EngineError> {
        self.inner.meter().map(|_| self as &dyn Meter)
    }

    // No server elsewhere has a home or an image here.

    fn homes(&self) -> Result<&dyn Homes, EngineError> {
        self.inner.homes()
    }

    fn images(&self) -> Result<&dyn Images, EngineError> {
        self.inner.images()
    }
}

#[async_trait]
impl Logs for WithRemotes {
    async fn last(&self, instance: &InstanceId, lines: usize) -> Result<String, EngineError> {
        // What it writes, it writes elsewhere.
        if self.remotes().contains_key(instance) {
            return Ok(String::new());
        }
        self.inner.logs()?.last(instance, lines).await
    }

    async fn follow(&self, instance: &InstanceId, lines: usize) -> Result<LogStream, EngineError> {
        if self.remotes().contains_key(instance) {
            return Ok(stream::empty().boxed());
        }
        self.inner.logs()?.follow(instance, lines).await
    }
}

impl Meter for WithRemotes {
    fn usage<'a>(&'a self, instance: &'a InstanceId) -> BoxStream<'a, Usage> {
        match self.inner.meter() {
            Ok(meter) if !self.remotes().contains_key(instance) => meter.usage(instance),
            // What a server elsewhere uses is not of this host.
            _ => stream::empty().boxed(),
        }
    }
}

/// Ranges that mean something else on every host or to every cloud, and are allowed only by a
/// network that lies within them.
const SPECIAL: [(IpNet, &str); 13] = [
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
    // Metadata services that are not link-local: Alibaba, Azure, Oracle, and Amazon over IPv6.
    (v4([100, 100, 100, 200], 32), "metadata"),
    (v4([168, 63, 129, 16], 32), "metadata"),
    (v4([192, 0, 0, 192], 32), "metadata"),
    (v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254], 128), "metadata"),
    (v6([0; 8], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

const fn v4(address: [u8; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = address;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(address: [u16; 8], prefix: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = address;
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(a, b, c, d, e, f, g, h),
        prefix,
    ))
}

/// The address to dial for `address`, or why it may not be dialled.
fn permit(allowed: &[IpNet], address: IpAddr) -> Result<IpAddr, String> {
    // The kernel dials ::ffff:127.0.0.1 as 127.0.0.1.
    let address = address.to_canonical();
    let mut named = allowed.iter().filter(|network| network.contains(&address));
    let special = SPECIAL.iter().find(|(range, _)| range.contains(&address));
    match special {
        Some((range, _)) if named.any(|network| range.contains(network)) => {}
        Some((_, kind)) => {
            return Err(format!(
                "it is a {kind} address, which only COSAGE_REMOTE_NETWORKS={} or another network of that kind allows",
                IpNet::from(address)
            ));
        }
        None if named.next().is_some() => {}
        None => {
            return Err(format!(
                "no network in COSAGE_REMOTE_NETWORKS has it; the operator can add {}",
                IpNet::from(address)
            ));
        }
    }
    // An address that a router translates reaches what the address within it reaches.
    if let IpAddr::V6(outer) = address
        && let Some(inner) = embedded(outer)
        && SPECIAL
            .iter()
            .any(|(range, _)| range.contains(&IpAddr::V4(inner)))
    {
        permit(allowed, IpAddr::V4(inner))?;
    }
    Ok(address)
}

/// The IPv4 address that an IPv6 address stands for: NAT64 (RFC 6052), 6to4 (RFC 3056), SIIT
/// (RFC 2765), and the deprecated IPv4-compatible form (RFC 4291, 2.5.5.1).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            Some(join(high, low))
        }
        // Not the two that are addresses of their own: unspecified and loopback.
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::Protocol;
    use super::super::simulated::Simulated;
    use super::*;
    use crate::desktop::{StreamKey, Uid};

    fn permitted(allowed: &[&str], address: &str) -> bool {
        let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        permit(&allowed, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn nothing_is_allowed_unless_named() {
        assert!(!permitted(&[], "192.0.2.7"));
        assert!(!permitted(&["192.0.2.0/25"], "192.0.2.200"));
        assert!(permitted(&["192.0.2.0/24"], "192.0.2.7"));
        assert!(permitted(&["2001:db8::/32"], "2001:db8::7"));
        assert!(permitted(&["192.0.2.0/24"], "::ffff:192.0.2.7"));
    }

    #[test]
    fn special_addresses_need_a_network_of_their_own() {
        let everything = ["0.0.0.0/0", "::/0"];
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(!permitted(&everything, address), "{address}");
        }
        for address in ["192.0.2.7", "2001:db8::7", "64:ff9b::192.0.2.7"] {
            assert!(permitted(&everything, address), "{address}");
        }
        assert!(permitted(&["127.0.0.0/8"], "127.0.0.1"));
        assert!(permitted(&["127.0.0.1/32"], "::ffff:127.0.0.1"));
        assert!(!permitted(&["127.0.0.1/32"], "127.0.0.2"));
        assert!(!permitted(&["126.0.0.0/7"], "127.0.0.1"));
        assert!(permitted(&["::/0", "169.254.0.0/16"], "64:ff9b::a9fe:a9fe"));
        assert!(permitted(&["::1/128"], "::1"));
    }

    #[tokio::test]
    async fn a_remote_desktop_is_listed_until_it_is_stopped() {
        let allowed = vec!["127.0.0.1/32".parse().unwrap()];
        let engine = WithRemotes::new(Arc::new(Simulated::new(PathBuf::new())), allowed);
        let cancel = CancellationToken::new();
        let spec = spec("localhost");
        let instance = engine.start(&spec, &cancel, &|_| {}).await.unwrap();
        assert_eq!(
            instance.endpoints["vnc"].address,
            "127.0.0.1:5901".parse().unwrap()
        );
        let id = &instance.id;
        assert_eq!(engine.logs().unwrap().last(id, 10).await, Ok(String::new()));
        assert_eq!(engine.exit(id).await, Ok(None));
        assert_eq!(engine.meter().unwrap().usage(id).next().await, None);
        assert_eq!(
            engine.list().await,
            Ok(vec![Found::Running(instance.clone())])
        );
        assert_eq!(engine.stop(id, Duration::ZERO).await, Ok(()));
        assert_eq!(engine.stop(id, Duration::ZERO).await, Ok(()));
        assert_eq!(engine.list().await, Ok(vec![]));
        assert_eq!(
            engine.logs().unwrap().last(id, 10).await,
            Err(EngineError::Gone)
        );
        assert_eq!(engine.exit(id).await, Err(EngineError::Gone));
    }

    #[tokio::test]
    async fn a_refusal_says_what_and_which_setting_allows_it() {
        let engine = WithRemotes::new(
            Arc::new(Simulated::new(PathBuf::new())),
            vec!["0.0.0.0/0".parse().unwrap()],
        );
        let cancel = CancellationToken::new();
        for (host, part) in [("127.0.0.1", "127.0.0.1/32"), ("localhost", "'localhost'")] {
            let error = engine
                .start(&spec(host), &cancel, &|_| {})
                .await
                .unwrap_err();
            assert!(matches!(error, EngineError::TargetRefused(_)));
            let text = error.to_string();
            assert!(
                text.contains(part) && text.contains("COSAGE_REMOTE_NETWORKS"),
                "{text}"
            );
        }
        assert_eq!(engine.list().await, Ok(vec![]));
        let error = engine
            .start(&spec("no-such-host.invalid"), &cancel, &|_| {})
            .await;
        assert!(error.unwrap_err().to_string().contains("resolved"));
        cancel.cancel();
        assert_eq!(
            engine.start(&spec("localhost"), &cancel, &|_| {}).await,
            Err(EngineError::Cancelled)
        );
    }

    fn spec(host: &str) -> LaunchSpec {
        LaunchSpec {
            uid: Uid::random(),
            app: "vnc-connect".to_owned(),
            instance: InstanceId::random(),
            key: StreamKey(11000),
            workload: Workload::Remote(RemoteSpec {
                host: host.to_owned(),
                port: 5901,
                stream: ("vnc".to_owned(), Protocol::Rfb),
            }),
        }
    }
}
