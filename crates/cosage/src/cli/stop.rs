//! `cosage stop` and `cosage rm`.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use reqwest::Method;

use super::client::{Client, Target};
use super::failure::Failure;
use super::output::print_line;
use crate::desktop::Uid;

/// `cosage stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// The desktops.
    #[arg(required = true, value_name = "UID")]
    uids: Vec<Uid>,
    #[command(flatten)]
    target: Target,
}

/// `cosage rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// The desktops.
    #[arg(required = true, value_name = "UID")]
    uids: Vec<Uid>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

/// What stays of a desktop.
#[derive(Clone, Copy)]
enum Ending {
    Sleep,
    Forget,
}

impl Stop {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        end_all(&self.target.client()?, &self.uids, Ending::Sleep).await
    }
}

impl Rm {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let client = self.target.client()?;
        if !self.yes {
            confirm(&self.uids)?;
        }
        end_all(&client, &self.uids, Ending::Forget).await
    }
}

async fn end_all(client: &Client, uids: &[Uid], ending: Ending) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for uid in uids {
        match end(client, uid, ending).await {
            Ok(()) => print_line(uid.as_str())?,
            // The others are ended all the same; the first failure is the command's.
            Err(failure) => outcome = outcome.and(Err(failure.told())),
        }
    }
    outcome
}

async fn end(client: &Client, uid: &Uid, ending: Ending) -> Result<(), Failure> {
    let mut request = client.request(Method::DELETE, ["api", "vm", uid.as_str()]);
    if let Ending::Forget = ending {
        request = request.query(&[("forget", "true")]);
    }
    match client.send(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(client.suggest(error, uid).await),
    }
}

fn confirm(uids: &[Uid]) -> Result<(), Failure> {
    let names: Vec<&str> = uids.iter().map(Uid::as_str).collect();
    let names = names.join(", ");
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "nothing was deleted: there is nobody to ask whether {names} may go for good, home included; say so with --yes"
        )));
    }
    eprint!("Delete {names} for good, with all files in the home? [y/N] ");
    // Without the question on the terminal, the answer below is no.
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::Failed("nothing was deleted".to_owned()))
    }
}
