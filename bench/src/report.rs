//! What a measurement says: its verdicts, and remarks that explain them.

use std::fmt::Write;

use crate::Failure;

/// What is measured, what it has to reach, and whether it does.
pub(crate) struct Verdict {
    pub(crate) measure: String,
    /// CoSage's value, with its unit.
    pub(crate) ours: String,
    /// The alternative's, or a dash.
    pub(crate) theirs: String,
    /// What is compared with the target.
    pub(crate) result: String,
    pub(crate) target: String,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Met,
    Missed,
}

impl Outcome {
    pub(crate) fn at_most(value: f64, bound: f64) -> Self {
        if value <= bound {
            Self::Met
        } else {
            Self::Missed
        }
    }

    pub(crate) fn at_least(value: f64, bound: f64) -> Self {
        if value >= bound {
            Self::Met
        } else {
            Self::Missed
        }
    }
}

/// The outcome of a sub-command.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) verdicts: Vec<Verdict>,
    /// A sentence or a few each.
    pub(crate) remarks: Vec<String>,
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| measure | CoSage | alternative | result | target | verdict |\n|---|---|---|---|---|---|\n",
        );
        for verdict in &self.verdicts {
            let outcome = match verdict.outcome {
                Outcome::Met => "met",
                Outcome::Missed => "**missed**",
            };
            // Writing to a text cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {outcome} |",
                verdict.measure, verdict.ours, verdict.theirs, verdict.result, verdict.target
            );
        }
        text.push('\n');
        for remark in &self.remarks {
            let _ = writeln!(text, "- {remark}");
        }
        text
    }
}

pub(crate) fn print(report: &Report) -> Result<(), Failure> {
    println!("{}", report.markdown());
    Ok(())
}

/// The median of samples, of which there has to be one.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(below), Some(above)) if sorted.len().is_multiple_of(2) => {
            f64::midpoint(*below, *above)
        }
        (_, Some(middle)) => *middle,
        _ => f64::NAN,
    }
}

/// Samples in seconds, as milliseconds in the order they were taken.
pub(crate) fn milliseconds(samples: &[f64]) -> String {
    let texts: Vec<String> = samples
        .iter()
        .map(|seconds| format!("{:.0}", seconds * 1e3))
        .collect();
    format!("{} ms", texts.join(", "))
}
