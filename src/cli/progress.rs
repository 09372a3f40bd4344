//! Progress bars: on a terminal only, and gone when the work is done.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for one piece of work.
pub struct Bar(ProgressBar);

/// A bar that says `what`; hidden where stderr is no terminal.
pub fn bar(what: &str) -> Bar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(15));
    if let Ok(style) = ProgressStyle::with_template("{msg:>12} {bar:40} {percent:>3} %") {
        bar.set_style(style);
    }
    bar.set_message(what.to_string());
    Bar(bar)
}

impl Bar {
    /// `done` of `total` is done.
    pub fn show(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// The work is now `what`.
    pub fn say(&self, what: &str) {
        self.0.set_message(what.to_string());
    }

    /// The work is done.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
