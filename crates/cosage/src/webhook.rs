//! What happens to desktops, posted to whoever is configured, signed as the Standard Webhooks specification has it
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! Each receiver is a listener of the memory of events, with a task of its own that posts one event after the other. So
//! what waits for a slow one is its place in that memory, and one that is away too long is told that it missed
//! something, as a listener of `GET /api/events` is.

mod receiver;
mod signature;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::receiver::{Post, Receiver};
use crate::delivery;
use crate::desktop::events::{Event, Events, Kind};

pub use self::signature::{BadSecret, Signer};

/// How long a receiver may take to answer; the specification advises 15 to 30 seconds.
const ANSWER_BOUND: Duration = Duration::from_secs(15);

/// Where events are posted to. It shows its origin only: the rest may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// A text that is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        match Url::parse(text) {
            // Such an address always has a host.
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self(url)),
            Ok(_) | Err(_) => Err(NoAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self}…)")
    }
}

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// To whom events are posted.
    pub addresses: Vec<Address>,
    /// Which.
    pub kinds: Vec<Kind>,
    /// By what receivers know them.
    pub signer: Signer,
}

/// What is posted of an event: a JSON object; `None` when it is not remembered any more.
pub type Encode = dyn Fn(&Event) -> Option<Bytes> + Send + Sync;

/// All receivers. Clones are the same.
#[derive(Clone, Default)]
pub struct Webhooks {
    receivers: Vec<Arc<Receiver>>,
    kinds: Vec<Kind>,
    deliveries: TaskTracker,
    ending: CancellationToken,
}

impl Webhooks {
    /// Without settings, nothing is posted.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(settings: Option<Settings>) -> Result<Self, reqwest::Error> {
        let Some(settings) = settings else {
            return Ok(Self::default());
        };
        let client = delivery::client(ANSWER_BOUND)?;
        let ending = CancellationToken::new();
        let receivers = settings.addresses.into_iter().enumerate();
        let receivers = receivers.map(|(index, address)| {
            Arc::new(Receiver {
                number: index + 1,
                shown: address.to_string(),
                kinds: settings.kinds.clone(),
                post: Box::new(Post {
                    client: client.clone(),
                    address,
                    signer: settings.signer.clone(),
                }),
                ending: ending.clone(),
            })
        });
        Ok(Self {
            receivers: receivers.collect(),
            kinds: settings.kinds,
            deliveries: TaskTracker::new(),
            ending,
        })
    }

    /// Whether any receiver hears of such events.
    pub fn want(&self, kind: Kind) -> bool {
        !self.receivers.is_empty() && self.kinds.contains(&kind)
    }

    /// Posts what happens from now on. The first thing that every receiver is told is that there may be something that
    /// it does not know.
    pub fn follow(&self, events: &Arc<Events>, encode: Arc<Encode>) {
        for receiver in &self.receivers {
            let listener = events.listen_until(None, self.ending.clone());
            let (receiver, encode) = (Arc::clone(receiver), Arc::clone(&encode));
            let boot = events.boot().to_owned();
            let task = async move { receiver.run(listener, &boot, &*encode).await };
            self.deliveries.spawn(task);
        }
    }

    /// Posts what has happened without long pauses from now on, and returns when all of it is taken.
    pub async fn drained(&self) {
        self.ending.cancel();
        self.deliveries.close();
        self.deliveries.wait().await;
    }

    /// How many receivers have not taken everything yet; before [`Self::drained`], how many there are.
    pub fn unfinished(&self) -> usize {
        self.deliveries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_web_and_shows_no_token() {
        for wrong in [
            "",
            "hooks.example.org",
            "ftp://a",
            "mailto:a@b",
            "http://",
            "https:///?",
        ] {
            assert_eq!(wrong.parse::<Address>(), Err(NoAddress), "{wrong}");
        }
        let text = "https://name:password@hooks.example.org:8443/token?token#token";
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), "https://hooks.example.org:8443");
        assert_eq!(
            format!("{address:?}"),
            "Address(https://hooks.example.org:8443…)"
        );
    }
}
