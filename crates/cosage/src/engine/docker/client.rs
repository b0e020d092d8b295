//! The connection to the engine, time limits, and what its errors mean.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::TryStreamExt;

use super::super::EngineError;
use crate::descriptors;

/// For what only reads.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);

/// For an order: create, start, remove.
pub(super) const ORDER_LIMIT: Duration = Duration::from_secs(60);

/// The client's own limit, in seconds. Every call here has a limit that is meant for it, and this
/// one must only never be the shorter.
const CLIENT_LIMIT: u64 = 24 * 60 * 60;

/// Where the engine is, seen from the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// On a socket of this host's file system.
    Socket,
    /// On a TCP port of this host.
    Loopback,
    /// On another host, as far as its address says.
    Elsewhere,
}

/// A client that is made when it is first needed, because bollard wants the socket to exist when
/// it is made and the engine may come up after the service.
pub(super) struct Client {
    address: Address,
    made: OnceLock<bollard::Docker>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Socket(String),
    Plain(String),
    Tls {
        address: String,
        certificates: PathBuf,
    },
}

impl Client {
    /// Checks `host`, a value of `DOCKER_HOST`, and connects to nothing yet. `certificates` is the
    /// directory with `ca.pem`, `cert.pem` and `key.pem`, where the engine is spoken to over TLS.
    pub(super) fn new(
        host: Option<&str>,
        certificates: Option<&Path>,
    ) -> Result<Self, EngineError> {
        let client = Self {
            address: parse(host, certificates)?,
            made: OnceLock::new(),
        };
        // Certificates that cannot be read do not come up by themselves, unlike an engine.
        if let Address::Tls { .. } = client.address {
            client.get()?;
        }
        Ok(client)
    }

    /// The client, or why there is none yet.
    pub(super) fn get(&self) -> Result<&bollard::Docker, EngineError> {
        if let Some(docker) = self.made.get() {
            return Ok(docker);
        }
        let docker = match &self.address {
            Address::Socket(path) => {
                bollard::Docker::connect_with_unix(path, CLIENT_LIMIT, API_DEFAULT_VERSION)
            }
            Address::Plain(address) => {
                bollard::Docker::connect_with_http(address, CLIENT_LIMIT, API_DEFAULT_VERSION)
            }
            Address::Tls {
                address,
                certificates,
            } => bollard::Docker::connect_with_ssl(
                address,
                &certificates.join("key.pem"),
                &certificates.join("cert.pem"),
                &certificates.join("ca.pem"),
                CLIENT_LIMIT,
                API_DEFAULT_VERSION,
            ),
        }
        .map_err(|error| self.explain(error))?;
        Ok(self.made.get_or_init(|| docker))
    }

    /// Removes a container with its anonymous volumes, killing it where it runs, and returns when
    /// it is gone, whoever removed it.
    pub(super) async fn remove(&self, container: &str) -> Result<(), EngineError> {
        let docker = self.get()?;
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match limited(
            ORDER_LIMIT,
            docker.remove_container(container, Some(options)),
        )
        .await
        {
            Ok(()) => Ok(()),
            Err(error) => match status(&error) {
                Some(NOT_FOUND) => Ok(()),
                // A forced removal has no other conflict than one that is under way already.
                Some(CONFLICT) => self.removed(container).await,
                _ => Err(self.explain(error)),
            },
        }
    }

    /// Waits for a removal that is going on.
    async fn removed(&self, container: &str) -> Result<(), EngineError> {
        let docker = self.get()?;
        let options = WaitContainerOptionsBuilder::default()
            .condition("removed")
            .build();
        let wait = docker
            .wait_container(container, Some(options))
            .try_for_each(|_| async { Ok(()) });
        match limited(ORDER_LIMIT, wait).await {
            // The exit code of the container, which bollard makes an error of its own.
            Ok(()) | Err(Error::DockerContainerWaitError { .. }) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Looks an image up; `None` when the engine does not have it.
    pub(super) async fn image(&self, reference: &str) -> Result<Option<ImageInspect>, EngineError> {
        let docker = self.get()?;
        match limited(READ_LIMIT, docker.inspect_image(reference)).await {
            Ok(image) => Ok(Some(image)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(self.explain(error)),
        }
    }

    pub(super) fn location(&self) -> Location {
        let address = match &self.address {
            Address::Socket(_) => return Location::Socket,
            Address::Plain(address) | Address::Tls { address, .. } => address,
        };
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host)
            .trim_matches(['[', ']']);
        let loopback = host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if loopback {
            Location::Loopback
        } else {
            Location::Elsewhere
        }
    }

    /// What a failed call means, in words that name the next step.
    pub(super) fn explain(&self, error: Error) -> EngineError {
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => classify(status_code, message),
            Error::DockerStreamError { error } => classify(500, error),
            Error::SocketNotFoundError(_) => {
                EngineError::Unavailable(self.unreachable(io::ErrorKind::NotFound, ""))
            }
            Error::RequestTimeoutError => EngineError::Unavailable(format!(
                "{} takes calls, and one was not answered in time; look at: systemctl status docker",
                self.name()
            )),
            error => match io_cause(&error) {
                Some(cause) => match descriptors::Exhausted::from_error(cause) {
                    Some(exhausted) => EngineError::OutOfResources(exhausted.to_string()),
                    None => {
                        EngineError::Unavailable(self.unreachable(cause.kind(), &chain(&error)))
                    }
                },
                None => {
                    EngineError::Unavailable(self.unreachable(io::ErrorKind::Other, &chain(&error)))
                }
            },
        }
    }

    fn unreachable(&self, kind: io::ErrorKind, detail: &str) -> String {
        let name = self.name();
        match kind {
            io::ErrorKind::NotFound => format!(
                "there is no socket {name}; start Docker (systemctl start docker), or say with DOCKER_HOST where it is"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "no right to use {name}; run the service as root or as a member of the group 'docker'"
            ),
            io::ErrorKind::ConnectionRefused => format!(
                "nobody listens on {name}; start Docker (systemctl start docker), or say with DOCKER_HOST where it is"
            ),
            _ => format!("{name}: {detail}"),
        }
    }

    fn name(&self) -> &str {
        match &self.address {
            Address::Socket(path) => path,
            Address::Plain(address) | Address::Tls { address, .. } => address,
        }
    }
}

/// Waits for a call, but not longer than `limit`.
pub(super) async fn limited<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or(Err(Error::RequestTimeoutError))
}

pub(super) const BAD_REQUEST: u16 = 400;
pub(super) const FORBIDDEN: u16 = 403;
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const CONFLICT: u16 = 409;

/// The status of an answer that is an error; `None` when there is no answer.
///
/// What a status means follows from the call that was made. The text beside it decides nothing: it
/// contains names that callers choose.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine does not have what the call was about.
pub(super) fn is_not_found(error: &Error) -> bool {
    status(error) == Some(NOT_FOUND)
}

/// What an answer means that its call makes nothing of.
fn classify(status: u16, message: String) -> EngineError {
    let shortage = shortage(&message);
    // Only of addresses does the engine also tell as a fault of the request: 404 and 400, by its version.
    match shortage.filter(|shortage| status >= 500 || *shortage == Shortage::Addresses) {
        Some(Shortage::Disk) => EngineError::OutOfDisk(message),
        Some(Shortage::Resources | Shortage::Addresses) => EngineError::OutOfResources(message),
        None if matches!(status, 502..=504) => EngineError::Unavailable(message),
        None => EngineError::Refused(message),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    Disk,
    Resources,
    /// Of networks, or of addresses in one.
    Addresses,
}

/// What the engine's host lacks, by an error's text: no status says it.
///
/// The engine wraps errors as `what was done: cause`, and each of these causes is a whole part
/// between colons. All contain spaces, unlike the names of desktops, containers, volumes, networks
/// and images, so no name can look like one.
fn shortage(message: &str) -> Option<Shortage> {
    message
        .to_lowercase()
        .split([':', '\n'])
        .map(|part| part.trim_matches(|character: char| !character.is_alphanumeric()))
        .find_map(|part| match part {
            "no space left on device" | "disk quota exceeded" => Some(Shortage::Disk),
            "cannot allocate memory"
            | "resource temporarily unavailable"
            | "too many open files"
            | "too many open files in system"
            // A bridge holds 1023 containers.
            | "exchange full"
            | "port is already allocated"
            | "address already in use" => Some(Shortage::Resources),
            _ => [
                "all predefined address pools have been fully subnetted",
                "could not find an available, non-overlapping ipv4 address pool",
                "no available ipv4 addresses on this network's address pools",
            ]
            .iter()
            .any(|cause| part.starts_with(cause))
            .then_some(Shortage::Addresses),
        })
}

fn parse(host: Option<&str>, certificates: Option<&Path>) -> Result<Address, EngineError> {
    let host = host.unwrap_or("unix:///var/run/docker.sock");
    if host.starts_with('/') {
        return Ok(Address::Socket(host.to_owned()));
    }
    let unusable = |what: &str| {
        EngineError::Unavailable(format!(
            "DOCKER_HOST={host}: {what}; it is unix:///path/of/the.sock or tcp://host:port"
        ))
    };
    let (scheme, rest) = host
        .split_once("://")
        .ok_or_else(|| unusable("it has no scheme"))?;
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() {
        return Err(unusable("it names nothing"));
    }
    match (scheme, certificates) {
        ("unix", _) => Ok(Address::Socket(rest.to_owned())),
        ("tcp" | "http" | "https", Some(directory)) => Ok(Address::Tls {
            address: rest.to_owned(),
            certificates: directory.to_owned(),
        }),
        ("tcp" | "http", None) => Ok(Address::Plain(rest.to_owned())),
        ("https", None) => Err(unusable(
            "https needs DOCKER_CERT_PATH with ca.pem, cert.pem and key.pem",
        )),
        _ => Err(unusable("this scheme is not supported")),
    }
}

fn io_cause(error: &Error) -> Option<&io::Error> {
    let mut cause = error.source();
    if let Error::IOError { err } = error {
        return Some(err);
    }
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// An error with all its causes, since the outermost one of a connection says only that it failed.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_is_read_as_docker_reads_it() {
        let location = |host| Client::new(Some(host), None).unwrap().location();
        assert_eq!(location("unix:///run/podman/podman.sock"), Location::Socket);
        assert_eq!(location("/run/docker.sock"), Location::Socket);
        assert_eq!(location("tcp://127.0.0.1:2375"), Location::Loopback);
        assert_eq!(location("tcp://[::1]:2375"), Location::Loopback);
        assert_eq!(location("tcp://localhost:2375/"), Location::Loopback);
        assert_eq!(location("tcp://10.0.0.7:2375"), Location::Elsewhere);
        assert_eq!(location("tcp://proxy:2375"), Location::Elsewhere);
        for host in [
            "ssh://somewhere",
            "2375",
            "unix://",
            "https://somewhere:2376",
        ] {
            let error = Client::new(Some(host), None).err().unwrap().to_string();
            assert!(
                error.contains("DOCKER_HOST") && error.contains(host),
                "{error}"
            );
        }
    }

    #[test]
    fn certificates_that_cannot_be_read_are_said_at_once() {
        let error = Client::new(Some("tcp://somewhere:2376"), Some(Path::new("/nowhere")))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }

    #[test]
    fn a_lack_of_descriptors_is_not_the_engines_silence() {
        let client = Client::new(None, None).unwrap();
        let explained =
            |errno: rustix::io::Errno| client.explain(Error::IOError { err: errno.into() });
        let short = explained(rustix::io::Errno::MFILE);
        assert!(
            matches!(&short, EngineError::OutOfResources(text) if text.contains("descriptors")),
            "{short}"
        );
        let away = explained(rustix::io::Errno::CONNREFUSED);
        assert!(matches!(away, EngineError::Unavailable(_)), "{away}");
    }

    #[test]
    fn a_shortage_is_told_from_other_errors() {
        use EngineError::{OutOfDisk, OutOfResources, Refused, Unavailable};
        let check = |status, message: &str, expected: fn(String) -> EngineError| {
            let classified = classify(status, message.to_owned());
            assert_eq!(classified, expected(message.to_owned()));
        };
        check(
            500,
            "mkdir /var/lib/docker/x: no space left on device",
            OutOfDisk,
        );
        check(500, "create session key: Disk quota exceeded\n", OutOfDisk);
        check(
            500,
            "runc create failed: write cgroup.procs: cannot allocate memory: unknown",
            OutOfResources,
        );
        check(
            500,
            "caused \"fork/exec /usr/bin/runc: resource temporarily unavailable\"",
            OutOfResources,
        );
        check(
            500,
            "adding interface veth1 to bridge br-1 failed: exchange full",
            OutOfResources,
        );
        check(
            500,
            "Bind for 127.0.0.1:5900 failed: port is already allocated",
            OutOfResources,
        );
        check(
            404,
            "could not find an available, non-overlapping IPv4 address pool among the defaults",
            OutOfResources,
        );
        check(
            400,
            "all predefined address pools have been fully subnetted",
            OutOfResources,
        );
        check(
            500,
            "no available IPv4 addresses on this network's address pools: network (1f2e)",
            OutOfResources,
        );
        check(503, "shutting down", Unavailable);
        check(500, "no", Refused);
        // The name of a file.
        check(
            500,
            "stat /no space left on device/x: no such file or directory",
            Refused,
        );
        // What is wrong is the request.
        check(400, "invalid mount: no space left on device", Refused);
    }
}
