//! One word for each dataset and hop, computed from evidence.
//!
//! Evidence is data that was verified at this hop, and how old that data is. That something ran, connected or answered is
//! none, and without evidence nothing is ok. The words:
//!
//! | word | when |
//! |---|---|
//! | `never` | nothing was ever verified here |
//! | `failing` | something is wrong by itself, the last attempt failed, or the data claims to come from the future |
//! | `late` | the data is older than its schedule and an allowance let it be ([`Schedule::late_before`]), or no schedule is known |
//! | `ok` | else |
//!
//! The age counts from the capture, or from when the data was verified here where that is longer ago: a source's clock that
//! runs fast hides nothing. Each `why` is one sentence that also says what to do. What is told to whom is `incident`'s.

use serde::{Deserialize, Serialize};

use crate::clock::SECOND_MS;
use crate::place::{Hop, Place};
use crate::schedule::Schedule;
use crate::words::{length, line, moment};

/// Clocks that keep time by the network differ by less.
const SKEW_MS: i64 = 30 * SECOND_MS;
const TEXT_MOST: usize = 300;

/// How well it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Ok,
    Late,
    Failing,
    Never,
}

impl Word {
    pub const ALL: [Word; 4] = [Word::Ok, Word::Late, Word::Failing, Word::Never];

    pub fn name(self) -> &'static str {
        match self {
            Word::Ok => "ok",
            Word::Late => "late",
            Word::Failing => "failing",
            Word::Never => "never",
        }
    }
}

/// What is known of a dataset at a hop. Times by the wall clock of this host, but for `captured_ms`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// When the newest data that was verified at this hop was captured, by its node: a snapshot, or a signed heartbeat.
    pub captured_ms: Option<i64>,
    /// When that was verified here.
    pub verified_ms: Option<i64>,
    /// When this hop's work last ended well, with or without anything new.
    pub success_ms: Option<i64>,
    pub failure: Option<Failure>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    pub queued_snapshots: u64,
    pub queued_bytes: u64,
    /// What is wrong whatever the age: a quota reached, segments lost, an archive rolled back. Each says what to do.
    pub wrong: Vec<String>,
    /// What to do when it is not ok, where the one who looks knows better than can be told from the hop.
    pub advice: Option<String>,
}

/// The last attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub at_ms: i64,
    pub text: String,
}

/// The word, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub word: Word,
    /// One sentence; of what is not ok it also says what to do.
    pub why: String,
}

/// A dataset at a hop as `status --json` shows it. Fields may be added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    #[serde(flatten)]
    pub place: Place,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// RFC 3339.
    pub captured: Option<String>,
    pub age_seconds: Option<u64>,
    /// The age at which the word becomes `late`, as of now.
    pub late_after_seconds: Option<u64>,
    pub last_success: Option<String>,
    pub last_failure: Option<Told>,
    pub failures: u32,
    pub queued_snapshots: u64,
    pub queued_bytes: u64,
}

/// A failure as `--json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub at: String,
    pub text: String,
}

/// Judges a hop. `schedule` is none where its exporter has not told it yet.
pub fn judge(place: &Place, evidence: &Evidence, schedule: Option<&Schedule>, now_ms: i64) -> Status {
    let age_ms = age(evidence, now_ms);
    let late_after_ms = schedule.map(|schedule| now_ms.saturating_sub(schedule.late_before(now_ms)));
    Status {
        place: place.clone(),
        verdict: verdict(place, evidence, age_ms, late_after_ms, now_ms),
        captured: evidence.captured_ms.map(moment),
        age_seconds: age_ms.map(|age| age.max(0) as u64 / 1_000),
        late_after_seconds: late_after_ms.map(|after| after.max(0) as u64 / 1_000),
        last_success: evidence.success_ms.map(moment),
        last_failure: evidence
            .failure
            .as_ref()
            .map(|failure| Told { at: moment(failure.at_ms), text: line(&failure.text, TEXT_MOST) }),
        failures: evidence.failures,
        queued_snapshots: evidence.queued_snapshots,
        queued_bytes: evidence.queued_bytes,
    }
}

/// Age of the data; negative when all that is known of it lies in the future.
fn age(evidence: &Evidence, now_ms: i64) -> Option<i64> {
    let captured = evidence.captured_ms?;
    Some(now_ms.saturating_sub(evidence.verified_ms.map_or(captured, |verified| verified.min(captured))))
}

fn verdict(place: &Place, evidence: &Evidence, age_ms: Option<i64>, late_after_ms: Option<i64>, now_ms: i64) -> Verdict {
    let told = |word: Word, why: String| Verdict { word, why };
    let failure = failure(evidence, now_ms);
    let wrong: Vec<String> = evidence.wrong.iter().map(|wrong| line(wrong, TEXT_MOST)).collect();
    let (Some(captured), Some(age_ms)) = (evidence.captured_ms, age_ms) else {
        let known: Vec<String> = failure.into_iter().chain(wrong).collect();
        let so_far = if known.is_empty() { String::new() } else { format!(" ({})", known.join("; ")) };
        return told(Word::Never, format!("nothing of it was ever verified {}{so_far}; {}", here(place.hop), advice(place, evidence)));
    };
    if !wrong.is_empty() {
        return told(Word::Failing, wrong.join("; "));
    }
    if captured > now_ms.saturating_add(SKEW_MS) {
        let ahead = length(captured.saturating_sub(now_ms));
        return told(
            Word::Failing,
            format!("its newest data claims to be captured {ahead} from now, so its age is unknown; set the clocks of the hosts right"),
        );
    }
    let Some(late_after_ms) = late_after_ms else {
        return told(
            Word::Late,
            format!("captured {} ago, and how often it should be is not known here; {}", length(age_ms), advice(place, evidence)),
        );
    };
    let late = age_ms > late_after_ms;
    if let Some(failure) = failure {
        let age = if late { "too old" } else { "fresh still" };
        return told(
            Word::Failing,
            format!("{failure}; its newest data, captured {} ago, is {age}; {}", length(age_ms), advice(place, evidence)),
        );
    }
    if late {
        let limit = length(late_after_ms);
        return told(
            Word::Late,
            format!("its newest data was captured {} ago and should be no older than {limit}; {}", length(age_ms), advice(place, evidence)),
        );
    }
    let waits = match evidence.queued_snapshots {
        0 => String::new(),
        1 => ", 1 snapshot waits".into(),
        n => format!(", {n} snapshots wait"),
    };
    told(Word::Ok, format!("captured {} ago{waits}", length(age_ms)))
}

/// What failed, if nothing went well since.
fn failure(evidence: &Evidence, now_ms: i64) -> Option<String> {
    if evidence.failures == 0 {
        return None;
    }
    let count = match evidence.failures {
        1 => "the last attempt failed".to_owned(),
        n => format!("the last {n} attempts failed"),
    };
    let Some(Failure { at_ms, text }) = &evidence.failure else { return Some(count) };
    Some(format!("{count}, {} ago: {}", length(now_ms.saturating_sub(*at_ms)), line(text, TEXT_MOST)))
}

fn here(hop: Hop) -> &'static str {
    match hop {
        Hop::Spool => "in the spool",
        Hop::Archive => "in the archive",
        Hop::Mirror => "in the mirror",
        Hop::Import => "as imported",
    }
}

fn advice(place: &Place, evidence: &Evidence) -> String {
    if let Some(advice) = &evidence.advice {
        return line(advice, TEXT_MOST);
    }
    let peer = place.peer.as_deref().unwrap_or("the other host");
    match place.hop {
        Hop::Spool => "see that `exporter serve` runs and what `exporter status` says".into(),
        Hop::Archive => {
            format!("see that `exporter serve` runs on {peer}, that both hosts reach each other, and what `pull-backup status` says")
        }
        Hop::Mirror => format!("see that `pull-backup serve` runs on {peer}, that this host reaches it, and what `importer status` says"),
        Hop::Import => "see that `importer serve` runs and what `importer status` says".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW_MS: i64 = 1_795_262_400_000;

    fn place(hop: Hop) -> Place {
        Place { cluster: "shop".into(), dataset: "shop".into(), hop, peer: Some("web1".into()) }
    }

    fn captured(ago_ms: i64) -> Evidence {
        let then = Some(NOW_MS - ago_ms);
        Evidence { captured_ms: then, verified_ms: then, success_ms: Some(NOW_MS), ..Evidence::default() }
    }

    fn failed(ago_ms: i64, evidence: Evidence) -> Evidence {
        let failure = Failure { at_ms: NOW_MS - ago_ms, text: "connecting to web1:8023\n\u{1b}[31mrefused".into() };
        Evidence { failure: Some(failure), failures: 2, ..evidence }
    }

    fn status(evidence: &Evidence, seconds: u64) -> Status {
        judge(&place(Hop::Archive), evidence, Some(&Schedule::every(Duration::from_secs(seconds)).unwrap()), NOW_MS)
    }

    fn word(evidence: &Evidence, seconds: u64) -> Word {
        status(evidence, seconds).verdict.word
    }

    #[test]
    fn that_something_ran_is_no_evidence() {
        let ran = Evidence { success_ms: Some(NOW_MS), verified_ms: Some(NOW_MS), ..Evidence::default() };
        assert_eq!(word(&ran, 60), Word::Never);
        assert_eq!(word(&Evidence::default(), 60), Word::Never);
        assert_eq!(word(&captured(91_000), 60), Word::Late, "a hop that succeeds at copying nothing new");
    }

    #[test]
    fn within_two_intervals_what_stands_still_is_not_ok() {
        for seconds in [5, 7, 60, 3_600, 86_400] {
            let interval = seconds as i64 * 1_000;
            assert_eq!(word(&captured(interval), seconds), Word::Ok, "{seconds}");
            assert_eq!(word(&captured(2 * interval + 1), seconds), Word::Late, "{seconds}");
        }
    }

    #[test]
    fn a_failure_is_seen_at_once_and_gone_with_a_success() {
        assert_eq!(word(&failed(1_000, captured(2_000)), 60), Word::Failing);
        assert_eq!(word(&Evidence { failures: 0, ..failed(1_000, captured(2_000)) }, 60), Word::Ok);
        assert_eq!(word(&failed(1_000, Evidence::default()), 60), Word::Never);
    }

    #[test]
    fn data_from_the_future_is_not_ok_and_a_fast_clock_hides_nothing() {
        assert_eq!(word(&captured(-29_000), 5), Word::Ok);
        assert_eq!(word(&captured(-31_000), 3_600), Word::Failing);
        let fast = Evidence { captured_ms: Some(NOW_MS + 20_000), verified_ms: Some(NOW_MS - 11_000), ..Evidence::default() };
        assert_eq!(word(&fast, 5), Word::Late);
    }

    #[test]
    fn what_is_wrong_by_itself_is_failing_however_fresh() {
        let wrong = vec!["quota of 1 GB reached; raise it or expel web1".to_owned()];
        assert_eq!(word(&Evidence { wrong, ..captured(0) }, 60), Word::Failing);
    }

    #[test]
    fn a_hop_that_knows_no_schedule_is_not_ok() {
        assert_eq!(judge(&place(Hop::Archive), &captured(0), None, NOW_MS).verdict.word, Word::Late);
    }

    #[test]
    fn each_sentence_says_why_and_what_to_do() {
        let why = |hop: Hop, evidence: &Evidence| {
            let status = judge(&place(hop), evidence, Some(&Schedule::every(Duration::from_secs(3_600)).unwrap()), NOW_MS);
            format!("{}: {}", status.verdict.word.name(), status.verdict.why)
        };
        let fresh = Evidence { queued_snapshots: 3, ..captured(12_000) };
        let all = [
            why(Hop::Spool, &fresh),
            why(Hop::Spool, &captured(9_000_000)),
            why(Hop::Archive, &failed(4_000, captured(12_000))),
            why(Hop::Archive, &failed(4_000, captured(9_000_000))),
            why(Hop::Mirror, &Evidence::default()),
            why(Hop::Import, &failed(4_000, Evidence::default())),
            why(Hop::Import, &captured(-7_200_000)),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        ok: captured 12 s ago, 3 snapshots wait
        late: its newest data was captured 2 h ago and should be no older than 90 min; see that `exporter serve` runs and what `exporter status` says
        failing: the last 2 attempts failed, 4 s ago: connecting to web1:8023 [31mrefused; its newest data, captured 12 s ago, is fresh still; see that `exporter serve` runs on web1, that both hosts reach each other, and what `pull-backup status` says
        failing: the last 2 attempts failed, 4 s ago: connecting to web1:8023 [31mrefused; its newest data, captured 2 h ago, is too old; see that `exporter serve` runs on web1, that both hosts reach each other, and what `pull-backup status` says
        never: nothing of it was ever verified in the mirror; see that `pull-backup serve` runs on web1, that this host reaches it, and what `importer status` says
        never: nothing of it was ever verified as imported (the last 2 attempts failed, 4 s ago: connecting to web1:8023 [31mrefused); see that `importer serve` runs and what `importer status` says
        failing: its newest data claims to be captured 2 h from now, so its age is unknown; set the clocks of the hosts right
        "#);
    }

    #[test]
    fn the_shape_of_json_stays() {
        let status = status(&failed(4_000, captured(12_000)), 60);
        let text = serde_json::to_string_pretty(&status).unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "cluster": "shop",
          "dataset": "shop",
          "hop": "archive",
          "peer": "web1",
          "word": "failing",
          "why": "the last 2 attempts failed, 4 s ago: connecting to web1:8023 [31mrefused; its newest data, captured 12 s ago, is fresh still; see that `exporter serve` runs on web1, that both hosts reach each other, and what `pull-backup status` says",
          "captured": "2026-11-21T11:59:48.000Z",
          "age_seconds": 12,
          "late_after_seconds": 90,
          "last_success": "2026-11-21T12:00:00.000Z",
          "last_failure": {
            "at": "2026-11-21T11:59:56.000Z",
            "text": "connecting to web1:8023 [31mrefused"
          },
          "failures": 2,
          "queued_snapshots": 0,
          "queued_bytes": 0
        }
        "#);
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }
}
