//! Statuses as Prometheus text (format 0.0.4).
//!
//! Data that never came has the age `+Inf`, so that a rule `resilient_data_age_seconds > 600` fires for it as well: a series
//! that is merely absent would be green for ever. Labels come from configurations of other hosts, so they are escaped.

use std::fmt::Write;

use crate::health::{Status, Word};

/// One series for each status in each family. The content type is `text/plain; version=0.0.4`.
pub fn render(list: &[Status]) -> String {
    let mut text = String::new();
    let seconds = |seconds: Option<u64>| seconds.map_or_else(|| "+Inf".to_owned(), |seconds| seconds.to_string());
    family(&mut text, "data_age_seconds", "Age of the newest data verified at this hop.", list, |status| Some(seconds(status.age_seconds)));
    family(&mut text, "data_late_after_seconds", "Age at which the data counts as late.", list, |status| {
        status.late_after_seconds.map(|seconds| seconds.to_string())
    });
    family(&mut text, "ok", "1 when the data is verified and fresh.", list, |status| {
        Some(u8::from(status.verdict.word == Word::Ok).to_string())
    });
    family(&mut text, "failures", "Attempts that failed since the last success.", list, |status| Some(status.failures.to_string()));
    family(&mut text, "queued_snapshots", "Snapshots that wait at this hop.", list, |status| Some(status.queued_snapshots.to_string()));
    family(&mut text, "queued_bytes", "Bytes that wait at this hop.", list, |status| Some(status.queued_bytes.to_string()));
    head(&mut text, "status", "1 for the word that holds.");
    for status in list {
        for word in Word::ALL {
            let holds = u8::from(word == status.verdict.word);
            line(&mut text, "status", &labels(status, Some(word)), &holds.to_string());
        }
    }
    text
}

fn family(text: &mut String, name: &str, means: &str, list: &[Status], value: impl Fn(&Status) -> Option<String>) {
    head(text, name, means);
    for status in list {
        if let Some(value) = value(status) {
            line(text, name, &labels(status, None), &value);
        }
    }
}

fn head(text: &mut String, name: &str, means: &str) {
    // Writing into a String cannot fail.
    let _ = write!(text, "# HELP resilient_{name} {means}\n# TYPE resilient_{name} gauge\n");
}

fn line(text: &mut String, name: &str, labels: &str, value: &str) {
    let _ = writeln!(text, "resilient_{name}{{{labels}}} {value}");
}

fn labels(status: &Status, word: Option<Word>) -> String {
    let place = &status.place;
    let peer = place.peer.as_deref().unwrap_or("");
    let mut pairs = vec![("cluster", place.cluster.as_str()), ("dataset", &place.dataset), ("hop", place.hop.name()), ("peer", peer)];
    pairs.extend(word.map(|word| ("word", word.name())));
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    pairs.join(",")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::{Evidence, judge};
    use crate::place::{Hop, Place};
    use crate::schedule::Schedule;

    #[test]
    fn each_status_is_a_series_and_labels_cannot_end_early() {
        let schedule = Schedule::every(Duration::from_secs(60)).unwrap();
        let place = |hop, peer: &str| Place { cluster: "shop".into(), dataset: "shop".into(), hop, peer: Some(peer.into()) };
        let fresh = Evidence { captured_ms: Some(90_000), queued_bytes: 512, ..Evidence::default() };
        let list = [
            judge(&place(Hop::Archive, "web1"), &fresh, Some(&schedule), 100_000),
            judge(&place(Hop::Mirror, "a\"} 1\nevil{x=\"\\"), &Evidence::default(), Some(&schedule), 100_000),
        ];
        insta::assert_snapshot!(render(&list), @r#"
        # HELP resilient_data_age_seconds Age of the newest data verified at this hop.
        # TYPE resilient_data_age_seconds gauge
        resilient_data_age_seconds{cluster="shop",dataset="shop",hop="archive",peer="web1"} 10
        resilient_data_age_seconds{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\"} +Inf
        # HELP resilient_data_late_after_seconds Age at which the data counts as late.
        # TYPE resilient_data_late_after_seconds gauge
        resilient_data_late_after_seconds{cluster="shop",dataset="shop",hop="archive",peer="web1"} 90
        resilient_data_late_after_seconds{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\"} 90
        # HELP resilient_ok 1 when the data is verified and fresh.
        # TYPE resilient_ok gauge
        resilient_ok{cluster="shop",dataset="shop",hop="archive",peer="web1"} 1
        resilient_ok{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\"} 0
        # HELP resilient_failures Attempts that failed since the last success.
        # TYPE resilient_failures gauge
        resilient_failures{cluster="shop",dataset="shop",hop="archive",peer="web1"} 0
        resilient_failures{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\"} 0
        # HELP resilient_queued_snapshots Snapshots that wait at this hop.
        # TYPE resilient_queued_snapshots gauge
        resilient_queued_snapshots{cluster="shop",dataset="shop",hop="archive",peer="web1"} 0
        resilient_queued_snapshots{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\"} 0
        # HELP resilient_queued_bytes Bytes that wait at this hop.
        # TYPE resilient_queued_bytes gauge
        resilient_queued_bytes{cluster="shop",dataset="shop",hop="archive",peer="web1"} 512
        resilient_queued_bytes{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\"} 0
        # HELP resilient_status 1 for the word that holds.
        # TYPE resilient_status gauge
        resilient_status{cluster="shop",dataset="shop",hop="archive",peer="web1",word="ok"} 1
        resilient_status{cluster="shop",dataset="shop",hop="archive",peer="web1",word="late"} 0
        resilient_status{cluster="shop",dataset="shop",hop="archive",peer="web1",word="failing"} 0
        resilient_status{cluster="shop",dataset="shop",hop="archive",peer="web1",word="never"} 0
        resilient_status{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\",word="ok"} 0
        resilient_status{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\",word="late"} 0
        resilient_status{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\",word="failing"} 0
        resilient_status{cluster="shop",dataset="shop",hop="mirror",peer="a\"} 1\nevil{x=\"\\",word="never"} 1
        "#);
    }
}
