//! What the service before this one left: containers that carry nobody's labels, and images that end by themselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

use super::InstanceId;
use crate::desktop::Environment;

/// The variable by which an old image learns after how many seconds without a client it is to end by itself.
pub const TIMEOUT_VARIABLE: &str = "WS_TIMEOUT";

/// A running container that belongs to no service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// What its instance is called if it is adopted; never the name of one that was started here.
    pub id: InstanceId,
    /// The container's name.
    pub name: String,
    /// The image as whoever made the container called it.
    pub image: String,
    /// Its environment, with what its image sets.
    pub environment: Environment,
    /// When it was started.
    pub started_at: Timestamp,
    /// Its own address, where its ports can be dialled there.
    pub address: Option<IpAddr>,
    /// Where the engine's host has its ports, by the container's port.
    pub published: BTreeMap<u16, SocketAddr>,
}

impl Stranger {
    /// Where one of its ports can be dialled; `None` where it cannot.
    pub fn reach(&self, port: u16) -> Option<SocketAddr> {
        match self.address {
            Some(address) => Some(SocketAddr::new(address, port)),
            None => self.published.get(&port).copied(),
        }
    }
}

/// After how long without a client an instance ends by itself, by the variables it got, `NAME` and value; `None` where
/// they do not say.
pub fn own_timeout<'a>(
    mut variables: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<Duration> {
    let (_, seconds) = variables.find(|(name, _)| *name == TIMEOUT_VARIABLE)?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_is_whole_seconds_or_none() {
        let of = |value| own_timeout([("A", "1"), (TIMEOUT_VARIABLE, value)].into_iter());
        assert_eq!(of("15"), Some(Duration::from_secs(15)));
        assert_eq!(of(""), None);
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
        assert_eq!(own_timeout([("A", "15")].into_iter()), None);
    }

    #[test]
    fn a_stranger_is_dialled_at_its_own_address_or_where_it_is_published() {
        let published = "127.0.0.1:11000".parse().unwrap();
        let mut stranger = Stranger {
            id: InstanceId::random(),
            name: "collab-vm-a".to_owned(),
            image: "old".to_owned(),
            environment: Environment::default(),
            started_at: Timestamp::UNIX_EPOCH,
            address: Some([172, 17, 0, 2].into()),
            published: BTreeMap::from([(2222, published)]),
        };
        assert_eq!(stranger.reach(2222), "172.17.0.2:2222".parse().ok());
        stranger.address = None;
        assert_eq!(stranger.reach(2222), Some(published));
        assert_eq!(stranger.reach(5900), None);
    }
}
