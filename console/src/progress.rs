//! A progress bar on standard error when a terminal is there, nothing when not.
//!
//! Cheap enough for each piece of work to advance it, from any thread. Nothing in it decides or measures for others; in a log
//! of cron it leaves no trace.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a long piece of work has come. Clones advance the same bar; dropping the last one clears it.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `total_bytes` is none where nobody knows how much there will be.
    pub fn new(label: impl Into<Cow<'static, str>>, total_bytes: Option<u64>) -> Progress {
        Progress::on(ProgressDrawTarget::stderr_with_hz(5), label.into(), total_bytes)
    }

    /// Shows nothing, as with `--json`.
    pub fn hidden() -> Progress {
        Progress::on(ProgressDrawTarget::hidden(), "".into(), None)
    }

    fn on(target: ProgressDrawTarget, label: Cow<'static, str>, total_bytes: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(total_bytes, target)
            .with_prefix(label)
            .with_style(style(total_bytes.is_some()));
        Progress { bar }
    }

    pub fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// What is being worked on now.
    pub fn at(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(what);
    }

    /// What became known of the total meanwhile.
    pub fn set_total(&self, bytes: u64) {
        self.bar.set_length(bytes);
        self.bar.set_style(style(true));
    }

    /// A line that stays, above the bar; without a terminal it goes to standard error as it is.
    pub fn say(&self, text: impl std::fmt::Display) {
        if self.bar.is_hidden() {
            crate::output::tell(text);
        } else {
            self.bar.println(text.to_string());
        }
    }

    /// Takes the bar away, so that results stand alone.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(total_known: bool) -> ProgressStyle {
    let template = match total_known {
        true => "{prefix} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        false => "{prefix} {spinner} {decimal_bytes} {decimal_bytes_per_sec} {elapsed} {wide_msg}",
    };
    // Both templates are constants, and the test below reads them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that remembers what was written.
    #[derive(Debug, Clone, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_sees_label_and_bytes() {
        let terminal = Terminal::default();
        let progress = Progress::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())), "restoring".into(), Some(2_000_000));
        progress.clone().advance(500_000);
        progress.say("skipped a.txt");
        progress.bar.tick();
        let seen = terminal.0.lock().unwrap().clone();
        assert!(seen.contains("restoring") && seen.contains("500.00 kB/2.00 MB") && seen.contains("skipped a.txt"), "{seen}");
    }

    #[test]
    fn without_a_total_bytes_are_counted() {
        let terminal = Terminal::default();
        let progress = Progress::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())), "reading".into(), None);
        progress.advance(7_000);
        progress.at("databases/shop/tables/orders");
        progress.bar.tick();
        let seen = terminal.0.lock().unwrap().clone();
        assert!(seen.contains("7.00 kB") && seen.contains("tables/orders"), "{seen:?}");
    }

    #[test]
    fn hidden_is_hidden() {
        let progress = Progress::hidden();
        progress.advance(1);
        progress.set_total(2);
        progress.finish();
        assert!(progress.bar.is_hidden());
    }
}
