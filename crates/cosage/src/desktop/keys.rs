//! Stream keys: ports of the configured range, each belonging to one desktop while it runs.
//!
//! A key is a real port of the host, bound (and never listened on) for as long as it is held. So
//! the kernel decides what is free, two requests at once cannot get the same one, and no other
//! program can take it meanwhile.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rand::RngExt;
use socket2::{Domain, Protocol, Socket, Type};

use super::{StreamKey, Uid};
use crate::descriptors;

/// All keys of the service.
#[derive(Debug)]
pub struct KeyTable {
    range: Range<u16>,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<StreamKey, Uid>,
    /// Where the search for a free key goes on. It moves through the whole range before it comes
    /// back, so that an old URL does not soon lead to somebody else's desktop.
    cursor: u16,
}

/// Why there is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// All of the range, so many, are held, or their ports are used by other programs.
    Exhausted(usize),
    /// As many are held as the caller allows.
    TooMany(usize),
    /// No file descriptor is left to hold a port with.
    Descriptors(descriptors::Exhausted),
    /// A port is free, and the system does not let it be held; in its words.
    Forbidden(String),
}

/// A key that belongs to a desktop until this is dropped.
#[derive(Debug)]
pub struct KeyLease {
    key: StreamKey,
    table: Arc<KeyTable>,
    _ports: [Option<Socket>; 2],
}

impl KeyTable {
    /// `range` is `PORT_RANGE_START..PORT_RANGE_END`, and not empty.
    pub fn new(range: Range<u16>) -> Arc<Self> {
        // Anywhere, because the desktops that held the first ones may be remembered by their URLs
        // from before a restart.
        let cursor = rand::rng().random_range(range.clone());
        Arc::new(Self {
            range,
            inner: RwLock::new(Inner {
                held: HashMap::new(),
                cursor,
            }),
        })
    }

    /// Gives `uid` a key: the `preferred` one if it is of the range and free, otherwise the next
    /// free one. With `most`, no more than so many are held at a time.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn lease(
        self: &Arc<Self>,
        uid: &Uid,
        preferred: Option<StreamKey>,
        most: Option<usize>,
    ) -> Result<KeyLease, KeyError> {
        let mut inner = self.write();
        if let Some(most) = most
            && inner.held.len() >= most
        {
            return Err(KeyError::TooMany(most));
        }
        let keys = self.range.len();
        let start = inner.cursor - self.range.start;
        let in_turn = (0..self.range.len()).map(|step| {
            let offset = (usize::from(start) + step) % keys;
            // The offset is below the range's length, which is at most 65535.
            self.range.start + u16::try_from(offset).unwrap_or_default()
        });
        let preferred = preferred
            .map(|key| key.0)
            .filter(|port| self.range.contains(port));
        let mut forbidden = None;
        for port in preferred.into_iter().chain(in_turn) {
            let key = StreamKey(port);
            if inner.held.contains_key(&key) {
                continue;
            }
            let ports = match reserve(port) {
                Ok(ports) => ports,
                Err(error) => match error.kind() {
                    io::ErrorKind::AddrInUse => continue,
                    // Another port may be allowed: those below 1024 need more rights.
                    io::ErrorKind::PermissionDenied => {
                        forbidden = Some(KeyError::Forbidden(error.to_string()));
                        continue;
                    }
                    // It would be the same at every other port.
                    _ => return Err(unreservable(&error)),
                },
            };
            inner.held.insert(key, uid.clone());
            if Some(port) != preferred {
                let next = port + 1;
                inner.cursor = if self.range.contains(&next) {
                    next
                } else {
                    self.range.start
                };
            }
            return Ok(KeyLease {
                key,
                table: Arc::clone(self),
                _ports: ports,
            });
        }
        Err(forbidden.unwrap_or(KeyError::Exhausted(keys)))
    }

    /// Whose key it is.
    pub fn holder(&self, key: StreamKey) -> Option<Uid> {
        self.read().held.get(&key).cloned()
    }

    // A panic while the lock is held cannot leave the table half-changed: go on with it.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyLease {
    /// The key.
    pub fn key(&self) -> StreamKey {
        self.key
    }
}

impl Drop for KeyLease {
    fn drop(&mut self) {
        self.table.write().held.remove(&self.key);
    }
}

fn unreservable(error: &io::Error) -> KeyError {
    match descriptors::Exhausted::from_error(error) {
        Some(exhausted) => KeyError::Descriptors(exhausted),
        None => KeyError::Forbidden(error.to_string()),
    }
}

/// Binds the port on all addresses, without `SO_REUSEADDR`: this fails when anything on the host
/// uses it on any address.
fn reserve(port: u16) -> io::Result<[Option<Socket>; 2]> {
    let v4 = bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())?;
    let v6 = match bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(socket) => Some(socket),
        Err(error) if is_without_ipv6(&error) => None,
        Err(error) => return Err(error),
    };
    Ok([Some(v4), v6])
}

/// Whether the host has no IPv6 at all, or none that is switched on.
fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn bind(domain: Domain, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;

    use super::*;

    fn uid(text: &str) -> Uid {
        text.parse().unwrap()
    }

    /// A range of which nothing is in use right now; each test has its own.
    fn table(start: u16, keys: u16) -> Arc<KeyTable> {
        KeyTable::new(start..start + keys)
    }

    #[test]
    fn keys_are_unique_until_they_are_given_back() {
        let table = table(21_000, 8);
        let held: Vec<_> = (0..8)
            .map(|n| table.lease(&uid(&format!("d{n}")), None, None).unwrap())
            .collect();
        let keys: HashSet<_> = held.iter().map(KeyLease::key).collect();
        assert_eq!(keys.len(), 8);
        assert!(keys.iter().all(|key| (21_000..21_008).contains(&key.0)));
        assert_eq!(
            table.lease(&uid("more"), None, None).unwrap_err(),
            KeyError::Exhausted(8)
        );
        let key = held[3].key();
        assert_eq!(table.holder(key), Some(uid("d3")));
        drop(held);
        assert_eq!(table.holder(key), None);
        assert!(table.lease(&uid("more"), None, None).is_ok());
    }

    #[test]
    fn a_port_that_another_program_uses_is_never_handed_out() {
        let foreign = [
            TcpListener::bind("127.0.0.1:21011").unwrap(),
            TcpListener::bind("0.0.0.0:21012").unwrap(),
            TcpListener::bind("[::1]:21013").unwrap(),
        ];
        let table = table(21_010, 5);
        let held: Vec<_> = (0..2)
            .map(|_| table.lease(&uid("a"), None, None).unwrap())
            .collect();
        let keys: HashSet<_> = held.iter().map(|lease| lease.key().0).collect();
        assert_eq!(keys, HashSet::from([21_010, 21_014]));
        assert!(table.lease(&uid("b"), None, None).is_err());
        // And a preferred one is no exception.
        assert!(
            table
                .lease(&uid("b"), Some(StreamKey(21_011)), None)
                .is_err()
        );
        drop(foreign);
        assert!(
            table
                .lease(&uid("b"), Some(StreamKey(21_011)), None)
                .is_ok()
        );
    }

    /// Its body runs in a process of its own, which alone gets the lower limit.
    #[test]
    fn without_descriptors_no_port_counts_as_used() {
        const INSIDE: &str = "COSAGE_TEST_FEW_DESCRIPTORS";
        const LIMIT: u64 = 32;
        if std::env::var_os(INSIDE).is_none() {
            let output = std::process::Command::new("sh")
                .args([
                    "-c",
                    &format!("ulimit -n {LIMIT}; exec \"$0\" --exact \"$1\""),
                ])
                .arg(std::env::current_exe().unwrap())
                .arg("desktop::keys::tests::without_descriptors_no_port_counts_as_used")
                .env(INSIDE, "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && said.contains("1 passed"),
                "{said}"
            );
            return;
        }
        let table = table(21_060, 40);
        let mut held = Vec::new();
        let error = loop {
            match table.lease(&uid("a"), None, None) {
                Ok(lease) => held.push(lease),
                Err(error) => break error,
            }
        };
        let limit = Some(LIMIT);
        assert_eq!(
            error,
            KeyError::Descriptors(descriptors::Exhausted::Process { limit })
        );
        held.pop();
        assert!(table.lease(&uid("a"), None, None).is_ok());
    }

    #[test]
    fn nobody_else_can_take_a_held_port() {
        let table = table(21_020, 1);
        let lease = table.lease(&uid("a"), None, None).unwrap();
        assert!(TcpListener::bind(("127.0.0.1", lease.key().0)).is_err());
        drop(lease);
        assert!(TcpListener::bind(("127.0.0.1", 21_020)).is_ok());
    }

    #[test]
    fn a_key_is_not_used_again_soon_but_its_own_desktop_gets_it_back() {
        let table = table(21_030, 4);
        let first = table.lease(&uid("a"), None, None).unwrap().key();
        let second = table.lease(&uid("b"), None, None).unwrap().key();
        assert_ne!(first, second);
        let again = table.lease(&uid("a"), Some(first), None).unwrap();
        assert_eq!(again.key(), first);
        let elsewhere = table.lease(&uid("c"), Some(StreamKey(80)), None).unwrap();
        assert!((21_030..21_034).contains(&elsewhere.key().0));
    }

    #[test]
    fn no_more_are_held_than_the_caller_allows() {
        let table = table(21_040, 4);
        let first = table.lease(&uid("a"), None, Some(1)).unwrap();
        assert_eq!(
            table.lease(&uid("b"), None, Some(1)).unwrap_err(),
            KeyError::TooMany(1)
        );
        drop(first);
        assert!(table.lease(&uid("b"), None, Some(1)).is_ok());
    }
}
