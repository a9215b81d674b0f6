//! `retain`: drops what no rule keeps, and says of each snapshot why it stays or goes.
//!
//! Rules come from the command line, or else from the configuration, or else are the default ones. What each of them means the archive decides.

use archive::repository::{Access, Repository};
use archive::retain::{Decision, Reason, RetainOptions, RetainReport, Rules, retain};
use archive::sign::PublicKey;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use console::pull_backup_file::{PullBackupFile, Retain as Configured};
use console::table::Table;
use console::{human, place, quantity};
use lookup::cmd::document;
use lookup::failure::failure;
use lookup::open::{Place, Surroundings, public_key};
use lookup::show;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Drops the snapshots that no rule keeps
#[derive(Args, Debug)]
pub struct Retain {
    #[command(flatten)]
    pub place: Place,
    /// Rules from this file instead of RESILIENT_CONFIG or /etc/resilient/pull-backup.toml
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub keep: Keep,
    /// Receipts of this key are valid; may be given several times. Without it, any signed receipt is
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    pub receiver: Vec<PublicKey>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Rules on the command line; those not given keep nothing.
#[derive(Args, Clone, Debug)]
#[group(id = "keep", multiple = true)]
pub struct Keep {
    /// Keep the last N
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep one for each of the last N hours that have any
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// Keep one for each of the last N days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// Keep one for each of the last N weeks
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// Keep one for each of the last N months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// Keep one for each of the last N years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Keep everything received at most so long before the newest, as "30d" or "12h"
    #[arg(long, value_name = "D", value_parser = quantity::duration)]
    pub within: Option<Duration>,
}

#[derive(Serialize)]
struct Shape<'a> {
    dry_run: bool,
    rules: RulesShape,
    rules_from: &'a str,
    refused: Option<&'a str>,
    kept: usize,
    dropped: usize,
    decisions: Vec<DecisionShape>,
    moved_segments: u64,
}

#[derive(Serialize)]
struct RulesShape {
    last: u32,
    hourly: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
    yearly: u32,
    within_seconds: Option<u64>,
}

#[derive(Serialize)]
struct DecisionShape {
    id: String,
    epoch: u64,
    sequence: u64,
    received: Option<String>,
    keep: bool,
    reasons: Vec<String>,
}

impl Retain {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let repository = self.place.open(Access::Shared)?;
        let (rules, from) = self.rules(&repository.config().dataset, surroundings)?;
        if !self.json {
            tell(format_args!("rules from {from}: {}", words(&rules)));
        }
        let options = RetainOptions {
            rules,
            now_ms: surroundings.now_ms(),
            zone: surroundings.now.time_zone().clone(),
            dry_run: self.dry_run,
            receivers: self.receiver.clone(),
            pins: vec![],
        };
        let report = retain(&repository, &options).map_err(failure)?;
        self.say(&repository, &report, &options, &from, surroundings)?;
        if let Some(why) = &report.refused {
            let hint =
                "`check --read` names what is damaged, `check --heal` fetches it from another repository; until then nothing is dropped";
            return Err(Failure::refused(format!("nothing was dropped from {}: {why}", self.place.shown())).hint(hint));
        }
        let damaged = report
            .decisions
            .iter()
            .any(|decision| decision.reasons.iter().any(|reason| matches!(reason, Reason::Damaged(_))));
        Ok(if damaged { Status::Partial } else { Status::Done })
    }

    /// The rules, and where they are from.
    fn rules(&self, dataset: &str, surroundings: &Surroundings) -> Result<(Rules, String), Failure> {
        if let Some(rules) = self.keep.rules() {
            if rules.is_empty() {
                return Err(Failure::usage("these rules keep nothing").hint("let one of them be above 0"));
            }
            return Ok((rules, "the command line".into()));
        }
        let path = place::of(self.config.as_deref(), surroundings.config.as_deref(), place::PULL_BACKUP);
        if path == Path::new(place::PULL_BACKUP) && !path.exists() {
            return Ok((configured(&Configured::default()), "nowhere, so the default ones".into()));
        }
        let file = PullBackupFile::open(&path)?;
        Ok((configured(file.retain_for(dataset)), human::text(path.as_os_str().as_encoded_bytes())))
    }

    fn say(
        &self,
        repository: &Repository,
        report: &RetainReport,
        options: &RetainOptions,
        from: &str,
        surroundings: &Surroundings,
    ) -> Result<(), Failure> {
        let dropped = report.dropped().count();
        let kept = report.decisions.len() - dropped;
        if self.json {
            return document(&Shape {
                dry_run: self.dry_run,
                rules: (&options.rules).into(),
                rules_from: from,
                refused: report.refused.as_deref(),
                kept,
                dropped,
                decisions: report.decisions.iter().map(DecisionShape::from).collect(),
                moved_segments: report.moved_segments,
            });
        }
        let mut output = Output::stdout();
        let mut table = Table::new(&["SNAPSHOT", "RECEIVED", ">POSITION", "", "BECAUSE"]);
        for Decision { known, received_ms, reasons } in &report.decisions {
            let reasons: Vec<String> = reasons.iter().map(|reason| human::text(reason.to_string().as_bytes())).collect();
            table.row([
                known.id.to_string()[..8].to_owned(),
                received_ms.map_or("-".into(), |ms| show::time(ms, surroundings.now.time_zone())),
                known.at.to_string(),
                if reasons.is_empty() { "drop" } else { "keep" }.into(),
                if reasons.is_empty() { "no rule keeps it".into() } else { reasons.join(", ") },
            ]);
        }
        if !table.is_empty() {
            output.line(table.to_string().trim_end())?;
        }
        let verb = match (report.refused.is_some(), self.dry_run) {
            (true, _) => "not dropped",
            (false, true) => "would be dropped",
            (false, false) => "dropped",
        };
        output.line(format_args!("dataset {}: {kept} kept, {dropped} {verb}", repository.config().dataset))?;
        Ok(output.finish()?)
    }
}

impl Keep {
    /// None when no rule was given at all.
    fn rules(&self) -> Option<Rules> {
        let Keep { keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, within } = self;
        let counts = [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly];
        if counts.iter().all(|count| count.is_none()) && within.is_none() {
            return None;
        }
        let [last, hourly, daily, weekly, monthly, yearly] = counts.map(|count| count.unwrap_or(0));
        Some(Rules { last, hourly, daily, weekly, monthly, yearly, within_ms: within.map(millis) })
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn configured(retain: &Configured) -> Rules {
    let &Configured { last, hourly, daily, weekly, monthly, yearly, within } = retain;
    Rules { last, hourly, daily, weekly, monthly, yearly, within_ms: within.map(millis) }
}

fn words(rules: &Rules) -> String {
    let counts = [
        ("last", rules.last),
        ("hourly", rules.hourly),
        ("daily", rules.daily),
        ("weekly", rules.weekly),
        ("monthly", rules.monthly),
        ("yearly", rules.yearly),
    ];
    let mut words: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    words.extend(rules.within_ms.map(|ms| format!("within {}", human::duration(Duration::from_millis(ms)))));
    words.join(", ")
}

impl From<&Rules> for RulesShape {
    fn from(rules: &Rules) -> RulesShape {
        let &Rules { last, hourly, daily, weekly, monthly, yearly, within_ms } = rules;
        RulesShape { last, hourly, daily, weekly, monthly, yearly, within_seconds: within_ms.map(|ms| ms / 1000) }
    }
}

impl From<&Decision> for DecisionShape {
    fn from(decision: &Decision) -> DecisionShape {
        DecisionShape {
            id: decision.known.id.to_string(),
            epoch: decision.known.at.epoch,
            sequence: decision.known.at.sequence,
            received: decision.received_ms.map(show::stamp),
            keep: decision.is_kept(),
            reasons: decision.reasons.iter().map(Reason::to_string).collect(),
        }
    }
}
