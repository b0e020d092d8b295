//! `cosage screenshot`: what a desktop shows.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reqwest::Method;

use super::client::{Target, broken};
use super::failure::Failure;
use super::file::{NewFile, STANDARD};
use super::output::{print_line, write};
use crate::desktop::Uid;

/// `cosage screenshot`.
#[derive(Debug, Args)]
pub struct Screenshot {
    /// The desktop; one that sleeps shows its last picture.
    uid: Uid,
    /// Where the picture goes, - for standard output [default: UID.png in the working directory].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// How the picture is written [default: as the file's name ends, else png].
    #[arg(long, short)]
    format: Option<Format>,
    /// Width in pixels, at least 16; a picture is never made larger.
    #[arg(long, short, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(16..))]
    width: Option<u16>,
    /// The last picture that was kept, without asking the desktop.
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    target: Target,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Exact.
    Png,
    /// Small.
    Jpeg,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
        }
    }

    /// What the ending of a file's name says; `None` where it says nothing.
    fn of(file: &std::path::Path) -> Option<Self> {
        let ending = file.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            _ => None,
        }
    }
}

impl Screenshot {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let format = self
            .format
            .or_else(|| Format::of(self.file.as_deref()?))
            .unwrap_or(Format::Png);
        let file = match &self.file {
            Some(file) => file.clone(),
            None => PathBuf::from(format!("{}.{}", self.uid, format.name())),
        };
        let to_standard_output = file.as_os_str() == STANDARD;
        if to_standard_output && io::stdout().is_terminal() {
            return Err(Failure::Usage(
                "a picture means nothing to a terminal; name a file, or send the output to a program"
                    .to_owned(),
            ));
        }
        let client = self.target.client()?;
        let mut query = vec![("format", format.name().to_owned())];
        query.extend(self.width.map(|width| ("width", width.to_string())));
        query.extend(self.last.then(|| ("last", "true".to_owned())));
        let request = client
            .request(Method::GET, ["api", "vm", self.uid.as_str(), "screenshot"])
            .query(&query);
        let response = match client.send(request).await {
            Ok(response) => response,
            Err(error) => return Err(client.suggest(error, &self.uid).await),
        };
        let picture = response.bytes().await.map_err(broken)?;
        if to_standard_output {
            return write(&picture);
        }
        let mut out = NewFile::create(&file)?;
        out.write(&picture)?;
        out.finish()?;
        print_line(&file.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_how_it_is_written() {
        let format = |name: &str| Format::of(name.as_ref());
        assert_eq!(format("a.JPG"), Some(Format::Jpeg));
        assert_eq!(format("/x/a.png"), Some(Format::Png));
        assert_eq!(format("a.b"), None);
        assert_eq!(format("-"), None);
    }
}
