//! How much disk homes take, as commands show it.

use console::Style;
use futures_util::stream::{self, StreamExt};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::{CallError, Client, read};
use super::failure::Failure;
use super::output::bytes;
use super::table::Cell;

/// As many as the service measures at the same time: more would only wait there.
const AT_A_TIME: usize = 2;

/// How much disk a home takes, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Size {
    /// In bytes; absent where there is no home, and where it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disk_use: Option<u64>,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

#[derive(Deserialize)]
struct Measured {
    disk_use: u64,
}

impl Size {
    pub(super) fn is_unknown(&self) -> bool {
        self.problem.is_some()
    }

    /// For people: `-` where there is no home.
    pub(super) fn cell(&self) -> Cell {
        match (self.disk_use, &self.problem) {
            (Some(size), _) => Cell::from(bytes(size)),
            (None, Some(_)) => Cell::from("?").styled(Style::new().yellow()),
            (None, None) => Cell::from("-"),
        }
    }
}

/// Measures homes, and tells the user about those that could not be measured.
pub(super) async fn measure(client: &Client, uids: &[String]) -> Vec<Size> {
    let measured = stream::iter(uids).map(|uid| measure_one(client, uid));
    let measured: Vec<_> = measured.buffered(AT_A_TIME).collect().await;
    let sizes = measured.into_iter().map(|measured| match measured {
        Ok(disk_use) => Size {
            disk_use,
            problem: None,
        },
        Err(error) => {
            let failure = Failure::from(error);
            let problem = Some(failure.to_string());
            let _ = failure.told();
            Size {
                disk_use: None,
                problem,
            }
        }
    });
    sizes.collect()
}

/// `None` where there is no home.
async fn measure_one(client: &Client, uid: &str) -> Result<Option<u64>, CallError> {
    let request = client.request(Method::GET, ["api", "homes", uid]);
    match client.json(request).await {
        Ok(value) => match read::<Measured>(&value) {
            Ok(measured) => Ok(Some(measured.disk_use)),
            Err(failure) => Err(CallError::Unreachable(failure.to_string())),
        },
        Err(CallError::Refused(refusal)) if refusal.code == "no_home" => Ok(None),
        Err(error) => Err(error),
    }
}
