//! Time zones and languages: what a caller says, as what a container is given.

use jiff::tz::TimeZoneDatabase;

/// The languages of the project's images, as the locales that `images/base/locales` makes; the first of each language
/// is the one for all its other regions.
pub(super) const LANGUAGES: &str = include_str!("../../../../images/base/locales");

/// The value of `LANG` without a language of people.
const NO_LANGUAGE: &str = "C.UTF-8";

/// Codes of one language, old ones (IANA language subtag registry) among them, and languages whose readers read each
/// other's. The console knows them too (`web/src/launcher/values.ts`).
const RELATIVES: [&[&str]; 4] = [
    &["nb", "no", "nn"],
    &["he", "iw"],
    &["id", "in"],
    &["yi", "ji"],
];

/// The IANA time zone that a caller means, as the database writes it. The database is the one that was built in: the
/// host's may be missing.
pub(super) fn timezone(text: &str) -> Option<String> {
    let zone = TimeZoneDatabase::bundled().get(text).ok()?;
    zone.iana_name().map(str::to_owned)
}

/// The locale for a language tag (`de-DE`, RFC 5646) or a locale's name (`de_DE.UTF-8`), out of `options`. A language that
/// is not among them gets a relative's, and a region the first option of its language; `None` where there is none.
pub(crate) fn language<'a>(
    text: &str,
    options: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    let name = text.split(['.', '@']).next().unwrap_or_default();
    if name == "C" || name == "POSIX" {
        return Some(NO_LANGUAGE.to_owned());
    }
    if !is_tag(name) {
        return None;
    }
    let mut parts = name.split(['-', '_']);
    let language = parts.next()?;
    let mut region = None;
    let mut script = None;
    for part in parts {
        match part {
            part if part.eq_ignore_ascii_case("Hant") => script = Some("TW"),
            part if part.eq_ignore_ascii_case("Hans") => script = Some("CN"),
            part if part.len() == 2 => region = region.or(Some(part)),
            _ => {}
        }
    }
    // Where a script is asked for, a region of the other one is not.
    let region = region.filter(|region| script.is_none_or(|script| script_of(region) == script));
    let script = script.or(region.map(script_of));

    let of = |language: &str| -> Vec<&'a str> {
        let is_language = |option: &&str| {
            let (own, _) = option.split_once('_').unwrap_or((option, ""));
            own.eq_ignore_ascii_case(language)
        };
        options.clone().into_iter().filter(is_language).collect()
    };
    let relatives = RELATIVES
        .iter()
        .find(|group| group.iter().any(|one| one.eq_ignore_ascii_case(language)));
    let of_language = std::iter::once(language)
        .chain(relatives.into_iter().copied().flatten().copied())
        .map(of)
        .find(|found| !found.is_empty())?;
    let in_region = |region: &str| {
        let is_region = |option: &&&str| {
            let own = option.split_once('_').map(|(_, own)| own);
            own.is_some_and(|own| own.eq_ignore_ascii_case(region))
        };
        of_language.iter().find(is_region)
    };
    let chosen = [region, script].into_iter().flatten().find_map(in_region);
    Some(format!("{}.UTF-8", chosen.or(of_language.first())?))
}

/// Chinese is written in two scripts, for which its regions `TW` and `CN` stand.
fn script_of(region: &str) -> &'static str {
    let traditional = ["TW", "HK", "MO"];
    if traditional
        .iter()
        .any(|one| one.eq_ignore_ascii_case(region))
    {
        "TW"
    } else {
        "CN"
    }
}

/// Whether `text` is made of parts as language tags are.
fn is_tag(text: &str) -> bool {
    text.split(['-', '_']).all(|part| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_ours(text: &str) -> Option<String> {
        language(text, LANGUAGES.lines())
    }

    #[test]
    fn a_time_zone_is_one_of_the_iana_database() {
        for (given, taken) in [
            ("Europe/Berlin", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            (
                "America/Argentina/Buenos_Aires",
                "America/Argentina/Buenos_Aires",
            ),
            // Browsers still say names that were replaced long ago.
            ("Asia/Calcutta", "Asia/Calcutta"),
            ("UTC", "UTC"),
            ("Etc/GMT+5", "Etc/GMT+5"),
        ] {
            assert_eq!(timezone(given).as_deref(), Some(taken), "{given}");
        }
        for wrong in [
            "",
            "Mars/Olympus",
            "/etc/localtime",
            "../../etc/passwd",
            ":Europe/Berlin",
            "CET-1CEST",
            "+02:00",
            "Europe/Berlin ",
            "Europe/Berlin\n",
        ] {
            assert_eq!(timezone(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_language_is_the_nearest_locale_there_is() {
        for (given, taken) in [
            ("de-DE", "de_DE.UTF-8"),
            ("de_DE.UTF-8", "de_DE.UTF-8"),
            ("DE-de", "de_DE.UTF-8"),
            ("de_DE@euro", "de_DE.UTF-8"),
            ("de", "de_DE.UTF-8"),
            ("de-LI", "de_DE.UTF-8"),
            ("pt-PT", "pt_PT.UTF-8"),
            ("en", "en_US.UTF-8"),
            ("en-GB", "en_GB.UTF-8"),
            ("pt-BR", "pt_BR.UTF-8"),
            ("pt", "pt_BR.UTF-8"),
            ("zh-Hant-HK", "zh_TW.UTF-8"),
            ("zh-HK", "zh_TW.UTF-8"),
            ("zh-hk", "zh_TW.UTF-8"),
            ("zh-Hans-HK", "zh_CN.UTF-8"),
            ("zh-SG", "zh_CN.UTF-8"),
            ("zh", "zh_CN.UTF-8"),
            ("zh-Hans", "zh_CN.UTF-8"),
            ("zh-TW", "zh_TW.UTF-8"),
            ("ja", "ja_JP.UTF-8"),
            ("no", "nb_NO.UTF-8"),
            ("nn-NO", "nb_NO.UTF-8"),
            ("iw", "he_IL.UTF-8"),
            ("IW-il", "he_IL.UTF-8"),
            ("C", "C.UTF-8"),
            ("C.UTF-8", "C.UTF-8"),
            ("POSIX", "C.UTF-8"),
        ] {
            assert_eq!(of_ours(given).as_deref(), Some(taken), "{given}");
        }
        for wrong in [
            "",
            "tlh",
            "de DE",
            "de_DE/../..",
            "-",
            "de_",
            "$(id)",
            "de;x",
        ] {
            assert_eq!(of_ours(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_locale_of_the_very_language_and_region_comes_before_a_near_one() {
        let options = ["zh_CN", "zh_TW", "zh_HK", "nb_NO", "nn_NO", "iw_IL"];
        for (given, taken) in [
            ("nn", "nn_NO.UTF-8"),
            ("no", "nb_NO.UTF-8"),
            ("he", "iw_IL.UTF-8"),
            ("zh-HK", "zh_HK.UTF-8"),
            ("zh-Hant-HK", "zh_HK.UTF-8"),
            ("zh-Hans-HK", "zh_CN.UTF-8"),
            ("zh-MO", "zh_TW.UTF-8"),
        ] {
            assert_eq!(language(given, options).as_deref(), Some(taken), "{given}");
        }
    }

    #[test]
    fn every_locale_of_the_images_is_taken_as_it_is() {
        for locale in LANGUAGES.lines() {
            let (own, region) = locale.split_once('_').unwrap();
            assert_eq!(of_ours(locale), Some(format!("{locale}.UTF-8")));
            assert_eq!(
                of_ours(&format!("{own}-{region}")),
                Some(format!("{locale}.UTF-8"))
            );
        }
    }
}
