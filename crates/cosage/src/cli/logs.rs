//! `cosage logs`: what a desktop writes.

use clap::{Args, value_parser};
use reqwest::Method;

use super::client::{Target, broken};
use super::failure::Failure;
use super::output::write;
use crate::desktop::Uid;

/// `cosage logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The desktop.
    uid: Uid,
    /// Go on with what it writes, until it ends.
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines, 1 to 1000.
    #[arg(long, short = 'n', default_value = "200", value_parser = value_parser!(u16).range(1..=1000))]
    lines: u16,
    #[command(flatten)]
    target: Target,
}

impl Logs {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        let request = client
            .request(Method::GET, ["api", "vm", self.uid.as_str(), "logs"])
            .query(&[
                ("lines", self.lines.to_string()),
                ("follow", self.follow.to_string()),
            ]);
        let mut response = match client.send(request).await {
            Ok(response) => response,
            Err(error) => return Err(client.suggest(error, &self.uid).await),
        };
        while let Some(piece) = response.chunk().await.map_err(broken)? {
            write(&piece)?;
        }
        Ok(())
    }
}
