//! One flag for each setting of the configuration's table.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

use crate::config::{CONFIG_FILE, CONFIG_VARIABLE, DefaultValue, FlagValues, SETTINGS, Setting};

/// The settings that are given as flags. Their values are checked with all others, by
/// [`crate::config::load`].
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The file that is read instead of `cosage.toml` in the working directory.
    pub config: Option<PathBuf>,
    /// Texts by the setting's variable.
    pub values: FlagValues,
}

const CONFIG: &str = "config";

/// The placeholder of settings that are true or false.
const BOOLEAN: &str = "BOOLEAN";

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(format!(
                "The configuration's file.\n[env: {CONFIG_VARIABLE}] [default: {CONFIG_FILE} in the working directory, where there is one]"
            ));
        SETTINGS
            .iter()
            .filter_map(|setting| Some(argument(setting, setting.flag()?)))
            .fold(command.arg(config), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &'static Setting, flag: String) -> Arg {
    let default = match setting.default {
        DefaultValue::Text(text) | DefaultValue::Words(text) => text,
    };
    let argument = Arg::new(setting.variable)
        .long(flag)
        .value_name(setting.placeholder);
    let argument = if setting.placeholder == BOOLEAN {
        // The flag alone says yes; another flag behind it is not its value.
        argument.num_args(0..=1).default_missing_value("true")
    } else {
        argument.allow_hyphen_values(true)
    };
    argument.help(format!(
        "{}\n[env: {}] [default: {default}]",
        setting.about, setting.variable
    ))
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>(CONFIG) {
            self.config = Some(path.clone());
        }
        for setting in SETTINGS.iter().filter(|setting| setting.flag().is_some()) {
            if let Some(text) = matches.get_one::<String>(setting.variable) {
                self.values.insert(setting.variable, text.clone());
            }
        }
        Ok(())
    }
}
