//! `retain`: drops what no rule keeps, says of each snapshot why it stays or goes, and sweeps what nobody needs any more.
//!
//! Rules come from the command line, or else from the configuration, or else are the default ones. What each of them means the archive decides.

use archive::repository::{Access, Repository};
use archive::retain::{Decision, Reason, RetainOptions, RetainReport, Rules, retain};
use archive::sign::PublicKey;
use archive::sweep::{SweepOptions, SweepReport, sweep};
use clap::Args;
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use console::pull_backup_file::{PullBackupFile, Retain as Configured};
use console::table::Table;
use console::{human, place, quantity};
use lookup::cmd::document;
use lookup::failure::failure;
use lookup::open::{Roots, Surroundings, public_key};
use lookup::place::{Means, Place};
use lookup::show;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What nobody needs is spared until it was seen for so long: an export may be about to use it.
pub(crate) const PATIENCE_MS: u64 = 48 * 3_600_000;
/// Replaced packs wait for readers that look for them.
pub(crate) const TRASH_MS: u64 = 24 * 3_600_000;

/// Drops the snapshots that no rule keeps, and frees their space
#[derive(Args, Debug)]
pub struct Retain {
    #[command(flatten)]
    pub place: Place,
    /// Rules from this file instead of RESILIENT_CONFIG or /etc/resilient/pull-backup.toml
    #[arg(long, value_name = "FILE", conflicts_with = "keep")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub keep: Keep,
    #[command(flatten)]
    pub roots: Roots,
    /// Receipts of this key are valid; may be given several times. Without it, those of this host for a dataset that is
    /// named, and any signed receipt for a folder
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    pub receiver: Vec<PublicKey>,
    /// Only drop snapshots; their space stays taken until a later sweep
    #[arg(long)]
    pub no_sweep: bool,
    /// Only say what would be dropped
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
    sweep: Option<SweepShape>,
}

#[derive(Serialize)]
struct SweepShape {
    refused: Option<String>,
    runs_removed: u64,
    packs_trashed: u64,
    packs_written: u64,
    bytes_trashed: u64,
    bytes_copied: u64,
    trash_removed: u64,
    rescued: u64,
    damaged: Vec<DamagedShape>,
}

#[derive(Serialize)]
struct DamagedShape {
    name: String,
    why: String,
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
    pub fn means(&mut self) -> Means<'_> {
        let dataset = self.place.dataset.clone();
        Means { place: &mut self.place, dataset, roots: &mut self.roots, identity: None }
    }

    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let receivers = match (self.receiver.as_slice(), self.place.peers.own) {
            ([], Some(own)) => vec![own],
            (said, _) => said.to_vec(),
        };
        let sweeps = !self.dry_run && !self.no_sweep;
        let repository = self.place.open(if self.dry_run { Access::Shared } else { Access::Exclusive })?;
        let (rules, from) = self.rules(&repository.config().dataset, surroundings)?;
        if !self.json {
            tell(format_args!("rules from {from}: {}", words(&rules)));
        }
        let options = RetainOptions {
            rules,
            now_ms: surroundings.now_ms(),
            zone: surroundings.now.time_zone().clone(),
            dry_run: self.dry_run,
            receivers,
            trust: self.roots.trust(),
            pins: vec![],
        };
        let report = retain(&repository, &options).map_err(failure)?;
        let swept = match sweeps && report.refused.is_none() {
            true => Some(sweep(&repository, &sweep_options(surroundings)).map_err(failure)?),
            false => None,
        };
        self.say(&repository, &report, &options, &from, swept.as_ref(), surroundings)?;
        let hint = "`check --read` names what is damaged, `check --heal` fetches it from another repository; what does not belong here, move out of the folder; until then nothing goes";
        if let Some(why) = &report.refused {
            return Err(Failure::refused(format!("nothing was dropped from {}: {why}", self.place.shown())).hint(hint));
        }
        if let Some(why) = swept.as_ref().and_then(|swept| swept.refused.as_ref()) {
            return Err(Failure::refused(format!("{} was not swept: {why}", self.place.shown())).hint(hint));
        }
        let damaged = report
            .decisions
            .iter()
            .flat_map(|decision| &decision.reasons)
            .any(|reason| matches!(reason, Reason::Damaged(_)));
        let damaged = damaged || swept.is_some_and(|swept| !swept.damaged.is_empty());
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
        swept: Option<&SweepReport>,
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
                sweep: swept.map(SweepShape::from),
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
        if let Some(swept) = swept {
            let SweepReport { runs_removed, packs_trashed, bytes_trashed, bytes_copied, trash_removed, .. } = swept;
            let (away, copied) = (human::bytes(*bytes_trashed), human::bytes(*bytes_copied));
            output.line(format_args!(
                "swept: {runs_removed} runs removed, {packs_trashed} packs to the trash ({away}, of which {copied} was copied), {trash_removed} removed from it"
            ))?;
            for (name, why) in &swept.damaged {
                tell(format_args!("stays, because it is damaged: {name}: {}", human::text(why.as_bytes())));
            }
        }
        Ok(output.finish()?)
    }
}

fn sweep_options(surroundings: &Surroundings) -> SweepOptions<'static> {
    SweepOptions {
        now_ms: surroundings.now_ms(),
        patience_ms: PATIENCE_MS,
        trash_ms: TRASH_MS,
        dry_run: false,
        keep_runs: &|_| false,
    }
}

impl From<&SweepReport> for SweepShape {
    fn from(report: &SweepReport) -> SweepShape {
        SweepShape {
            refused: report.refused.clone(),
            runs_removed: report.runs_removed,
            packs_trashed: report.packs_trashed,
            packs_written: report.packs_written,
            bytes_trashed: report.bytes_trashed,
            bytes_copied: report.bytes_copied,
            trash_removed: report.trash_removed,
            rescued: report.rescued,
            damaged: report
                .damaged
                .iter()
                .map(|(name, why)| DamagedShape { name: name.clone(), why: why.clone() })
                .collect(),
        }
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

/// Rules of the configuration as the archive takes them.
pub(crate) fn configured(retain: &Configured) -> Rules {
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
