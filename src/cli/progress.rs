//! Bars on stderr, for whoever watches a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Global;

/// A bar over bytes; of unknown length when `total` is none.
pub(super) fn bytes(global: &Global, doing: &'static str, total: Option<u64>) -> ProgressBar {
    let style = match total {
        Some(_) => "{msg} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}",
        None => "{msg} {spinner} {bytes}, {bytes_per_sec}",
    };
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    dressed(global, bar, style).with_message(doing)
}

/// A bar over things that are counted; its message says what of them.
pub(super) fn count(global: &Global, total: u64) -> ProgressBar {
    dressed(global, ProgressBar::new(total), "{bar:30} {pos}/{len} {msg}, {per_sec}")
}

/// No terminal, no bar; and none for a script.
fn dressed(global: &Global, bar: ProgressBar, style: &str) -> ProgressBar {
    if global.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
