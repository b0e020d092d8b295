//! Progress on standard error: only on a terminal, and gone when it is over.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the picture of something that takes its time moves.
const TICK: Duration = Duration::from_millis(100);

/// Something that takes a while and shows how far it is.
pub(super) struct Progress {
    bar: ProgressBar,
    shape: Shape,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// That it goes on.
    Spinner,
    /// How much of a hundred.
    Percent,
    /// How many bytes, and how fast.
    Bytes,
}

impl Progress {
    /// Something whose length nobody knows.
    pub(super) fn spinner(message: impl Into<String>) -> Self {
        let bar = ProgressBar::new_spinner().with_message(message.into());
        bar.set_style(style(Shape::Spinner));
        bar.enable_steady_tick(TICK);
        Self {
            bar,
            shape: Shape::Spinner,
        }
    }

    /// Bytes that move; `total` where it is known.
    pub(super) fn bytes(message: impl Into<String>, total: Option<u64>) -> Self {
        let Some(total) = total else {
            return Self::spinner(message);
        };
        let bar = ProgressBar::new(total).with_message(message.into());
        bar.set_style(style(Shape::Bytes));
        Self {
            bar,
            shape: Shape::Bytes,
        }
    }

    /// What goes on now.
    pub(super) fn say(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// What goes on now, and how much of it is done, where that is known.
    pub(super) fn show(&mut self, message: impl Into<String>, percent: Option<u8>) {
        let shape = match percent {
            Some(_) => Shape::Percent,
            None => Shape::Spinner,
        };
        if shape != self.shape {
            self.shape = shape;
            self.bar.set_style(style(shape));
        }
        if let Some(percent) = percent {
            self.bar.set_length(100);
            self.bar.set_position(u64::from(percent));
        }
        self.say(message);
    }

    /// So many more bytes have moved.
    pub(super) fn advance(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }

    /// A line that stays, above what goes on.
    pub(super) fn line(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(shape: Shape) -> ProgressStyle {
    let template = match shape {
        Shape::Spinner => "{spinner} {wide_msg} {elapsed}",
        Shape::Percent => "{spinner} {msg} {bar:30} {elapsed}",
        Shape::Bytes => {
            "{msg} {bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta}"
        }
    };
    // The templates are right, which a test keeps.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for template in [
            "{spinner} {wide_msg} {elapsed}",
            "{spinner} {msg} {bar:30} {elapsed}",
            "{msg} {bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
