//! Where a member stands in the data, and what the archive published.
//!
//! A position is a map dataset -> point, compared in the order of the configuration: the first dataset that differs decides, since a
//! shop's orders matter more than its thumbnails. Points compare by (epoch, sequence), never by clocks. The id decides only whether two
//! hosts mean the same snapshot: a member whose point has another id than what was published went another way, and must not lead.
//!
//! [`History`] is the arbiter's memory of what was published, newest last, as far back as the caller fills it in. It is what makes BLOCKED exact.
//! It is no record: the archive is the truth, and hands it in anew at each start.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Dataset, Epoch, SnapshotId, Time};

/// How many snapshots of a dataset are remembered; older ones count as published by their number alone.
const REMEMBERED_MOST: usize = 4096;

/// One snapshot's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub epoch: Epoch,
    pub sequence: u64,
    pub id: SnapshotId,
}

impl Point {
    pub fn number(&self) -> (Epoch, u64) {
        (self.epoch, self.sequence)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.epoch, self.sequence, self.id)
    }
}

/// What a host holds of each dataset. A dataset that is absent holds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub BTreeMap<Dataset, Point>);

impl Position {
    /// The first dataset in `order` that differs decides.
    pub fn compare(&self, other: &Position, order: &[Dataset]) -> Ordering {
        let number = |position: &Position, dataset| position.0.get(dataset).map(Point::number);
        let differing = order.iter().map(|dataset| number(self, dataset).cmp(&number(other, dataset)));
        differing.fold(Ordering::Equal, Ordering::then)
    }

    /// Has this position, of each dataset, what `other` has or more?
    pub fn covers(&self, other: &Position) -> bool {
        other
            .0
            .iter()
            .all(|(dataset, point)| self.0.get(dataset).is_some_and(|own| own.number() >= point.number()))
    }

    pub fn epoch(&self) -> Epoch {
        self.0.values().map(|point| point.epoch).max().unwrap_or_default()
    }
}

/// A snapshot that a takeover would leave behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub dataset: Dataset,
    pub point: Point,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dataset, self.point)
    }
}

/// A snapshot as the archive has it; `age` is that of the data when it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub dataset: Dataset,
    pub point: Point,
    pub age: Duration,
}

#[derive(Clone, Debug)]
struct Remembered {
    point: Point,
    age: Duration,
    told: Time,
}

impl Remembered {
    fn age(&self, now: Time) -> Duration {
        self.age + now.since(self.told)
    }
}

/// What the archive published, by dataset, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    datasets: BTreeMap<Dataset, Vec<Remembered>>,
    heads: Position,
}

impl History {
    /// Adds what was published. An older point than the head is ignored: heads never go back by publishing.
    pub fn add(&mut self, now: Time, published: Published) {
        let Published { dataset, point, age } = published;
        let list = self.datasets.entry(dataset.clone()).or_default();
        if list.last().is_none_or(|last| last.point.number() < point.number()) {
            if list.len() == REMEMBERED_MOST {
                list.drain(..REMEMBERED_MOST / 2);
            }
            list.push(Remembered { point: point.clone(), age, told: now });
            self.heads.0.insert(dataset, point);
        }
    }

    /// s*: the head of each dataset.
    pub fn heads(&self) -> &Position {
        &self.heads
    }

    /// The oldest data that a takeover at the heads would bring, if it is older than allowed.
    pub fn too_old(&self, now: Time, age_max: &BTreeMap<Dataset, Duration>) -> Option<(Dataset, Duration)> {
        let ages = self.datasets.iter().filter_map(|(dataset, list)| Some((dataset.clone(), list.last()?.age(now))));
        ages.filter(|(dataset, age)| age_max.get(dataset).is_some_and(|most| age > most))
            .max_by_key(|(_, age)| *age)
    }

    /// The dataset in which `position` is no ancestor of the heads.
    pub fn divergence(&self, position: &Position) -> Option<Dataset> {
        let foreign = |(dataset, point): (&Dataset, &Point)| {
            let list = self.datasets.get(dataset).map_or(&[][..], Vec::as_slice);
            let Some(oldest) = list.first() else { return true };
            let known = list.binary_search_by_key(&point.number(), |entry| entry.point.number());
            match known {
                Ok(at) => list[at].point.id != point.id,
                Err(_) => point.number() > oldest.point.number() || list.len() < REMEMBERED_MOST / 2,
            }
        };
        position.0.iter().find(|entry| foreign(*entry)).map(|(dataset, _)| dataset.clone())
    }

    /// Whether the head of a dataset is above `position`: whoever imports it stands there, wherever it stood before.
    pub fn passed(&self, dataset: &Dataset, position: &Position) -> bool {
        let number = |of: &Position| of.0.get(dataset).map(Point::number);
        number(&self.heads) > number(position)
    }

    /// What was published above `position`, exactly, dataset by dataset.
    pub fn above(&self, position: &Position) -> Vec<Lost> {
        let mut lost = Vec::new();
        for (dataset, list) in &self.datasets {
            let held = position.0.get(dataset).map(Point::number);
            let above = list.iter().filter(|entry| Some(entry.point.number()) > held);
            lost.extend(above.map(|entry| Lost { dataset: dataset.clone(), point: entry.point.clone() }));
        }
        lost
    }

    /// How far `position` is behind the heads, in the age of its data; `None` when it lacks a dataset whole.
    pub fn lag(&self, now: Time, position: &Position) -> Option<Duration> {
        let lag = |(dataset, list): (&Dataset, &Vec<Remembered>)| {
            let head = list.last()?;
            let held = position.0.get(dataset)?.number();
            let own = list.iter().rev().find(|entry| entry.point.number() <= held)?;
            Some(own.age(now).saturating_sub(head.age(now)))
        };
        self.datasets.iter().map(lag).try_fold(Duration::ZERO, |most, lag| Some(most.max(lag?)))
    }

    /// A reign was sealed below the heads: what lies above `position` is no history any more.
    pub fn cut(&mut self, position: &Position) {
        for (dataset, list) in &mut self.datasets {
            let held = position.0.get(dataset).map(Point::number);
            list.retain(|entry| Some(entry.point.number()) <= held);
            match list.last() {
                Some(last) => self.heads.0.insert(dataset.clone(), last.point.clone()),
                None => self.heads.0.remove(dataset),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(epoch: u64, sequence: u64) -> Point {
        Point { epoch: Epoch(epoch), sequence, id: SnapshotId(format!("s{epoch}-{sequence}")) }
    }

    fn position(list: &[(&str, u64, u64)]) -> Position {
        Position(
            list.iter()
                .map(|(dataset, epoch, sequence)| (Dataset::from(*dataset), point(*epoch, *sequence)))
                .collect(),
        )
    }

    fn history() -> History {
        let mut history = History::default();
        for (epoch, sequence, age) in [(1, 1, 300), (1, 2, 200), (2, 3, 100)] {
            let published = Published { dataset: "shop".into(), point: point(epoch, sequence), age: Duration::from_secs(age) };
            history.add(Time::default(), published);
        }
        history
    }

    #[test]
    fn the_first_dataset_in_the_configured_order_decides() {
        let order = [Dataset::from("shop"), Dataset::from("mail")];
        let (a, b) = (position(&[("shop", 2, 1), ("mail", 1, 1)]), position(&[("shop", 1, 9), ("mail", 3, 9)]));
        assert_eq!(a.compare(&b, &order), Ordering::Greater);
        assert_eq!(a.compare(&b, &[order[1].clone()]), Ordering::Less);
        assert_eq!(position(&[]).compare(&b, &order), Ordering::Less);
    }

    #[test]
    fn another_id_under_a_published_number_is_another_way() {
        let history = history();
        assert_eq!(history.divergence(&position(&[("shop", 1, 2)])), None);
        assert_eq!(history.divergence(&position(&[("shop", 1, 3)])), Some("shop".into()), "a tail that was never published");
        let mut other = position(&[("shop", 1, 2)]);
        other.0.get_mut(&Dataset::from("shop")).unwrap().id = "x".into();
        assert_eq!(history.divergence(&other), Some("shop".into()));
    }

    #[test]
    fn what_would_be_lost_is_named_and_cut_is_gone() {
        let mut history = history();
        let held = position(&[("shop", 1, 1)]);
        let lost: Vec<String> = history.above(&held).iter().map(Lost::to_string).collect();
        assert_eq!(lost, ["shop 1/2 s1-2", "shop 2/3 s2-3"]);
        assert_eq!(history.lag(Time::from_ms(5000), &held), Some(Duration::from_secs(200)));
        assert_eq!(history.lag(Time::default(), &position(&[])), None);
        history.cut(&held);
        assert_eq!(history.heads(), &held);
        assert!(history.above(&held).is_empty());
    }
}
