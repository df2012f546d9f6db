//! Rows become figures: the median, the spread and the load of each case, size and side.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};

/// Our side in every case.
pub(crate) const OURS: &str = "snapshotd";

/// What was asked, for how much, of whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) case: String,
    pub(crate) size: String,
    pub(crate) side: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// The value that 99 of 100 do not exceed; the largest of fewer.
    pub(crate) p99: f64,
    pub(crate) taken: usize,
    pub(crate) load: f64,
    /// `s`, `B` or `/s`.
    pub(crate) unit: String,
}

/// All of them, and what is known of the machine.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    figures: BTreeMap<Key, Figure>,
    /// Whether what a side gave back is what it was given.
    same: BTreeMap<(String, String), bool>,
    facts: Vec<(String, String)>,
    loads: (f64, f64),
}

#[derive(Debug, Default)]
struct Samples {
    values: Vec<f64>,
    loads: Vec<f64>,
    unit: String,
}

impl Figures {
    /// Reads every file of rows in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut read = Self {
            loads: (f64::MAX, 0.0),
            ..Self::default()
        };
        let mut samples: BTreeMap<Key, Samples> = BTreeMap::new();
        for entry in fs::read_dir(folder).with_context(|| format!("List {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "csv") {
                let text = fs::read_to_string(&path)?;
                for line in text.lines() {
                    read.add(line, &mut samples)
                        .with_context(|| format!("{}: {line}", path.display()))?;
                }
            }
        }
        read.figures = samples
            .into_iter()
            .map(|(key, all)| (key, all.figure()))
            .collect();
        let facts = fs::read_to_string(folder.join("facts.tsv")).unwrap_or_default();
        let pairs = facts.lines().filter_map(|line| line.split_once('\t'));
        read.facts = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(read)
    }

    fn add(&mut self, line: &str, samples: &mut BTreeMap<Key, Samples>) -> Result<()> {
        // A size may hold commas; nothing else does.
        let parts: Vec<&str> = line.split(',').collect();
        ensure!(parts.len() >= 7, "A row has seven parts");
        let from_end = |number: usize| parts[parts.len() - number];
        let (case, size) = (parts[0].to_owned(), parts[1..parts.len() - 5].join(","));
        let (side, value, unit) = (from_end(5).to_owned(), from_end(3), from_end(2));
        let load: f64 = from_end(1).parse()?;
        self.loads = (self.loads.0.min(load), self.loads.1.max(load));
        if unit == "same" {
            self.same.insert((case, side), value == "yes");
            return Ok(());
        }
        let of = samples.entry(Key { case, size, side }).or_default();
        of.values.push(value.parse()?);
        of.loads.push(load);
        unit.clone_into(&mut of.unit);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Figure)> {
        self.figures.iter()
    }

    pub(crate) fn facts(&self) -> &[(String, String)] {
        &self.facts
    }

    /// The least and the most load while anything was measured.
    pub(crate) fn loads(&self) -> (f64, f64) {
        self.loads
    }

    pub(crate) fn get(&self, case: &str, size: &str, side: &str) -> Option<&Figure> {
        self.figures.get(&Key {
            case: case.to_owned(),
            size: size.to_owned(),
            side: side.to_owned(),
        })
    }

    /// The sizes of a case in ascending order, those that are numbers.
    pub(crate) fn sizes(&self, case: &str, side: &str) -> Vec<(f64, &Figure)> {
        let of_case = self
            .figures
            .iter()
            .filter(|(key, _)| key.case == case && key.side == side);
        let mut sizes: Vec<(f64, &Figure)> = of_case
            .filter_map(|(key, figure)| Some((key.size.rsplit(' ').next()?.parse().ok()?, figure)))
            .collect();
        sizes.sort_by(|one, other| one.0.total_cmp(&other.0));
        sizes
    }

    pub(crate) fn median(&self, case: &str, size: &str, side: &str) -> Option<f64> {
        self.get(case, size, side).map(|figure| figure.median)
    }

    /// How many times better ours is than `side`.
    pub(crate) fn factor(&self, case: &str, size: &str, side: &str) -> Option<f64> {
        let (ours, theirs) = (self.get(case, size, OURS)?, self.get(case, size, side)?);
        let factor = match ours.unit.as_str() {
            "/s" => ours.median / theirs.median,
            _ => theirs.median / ours.median,
        };
        factor.is_finite().then_some(factor)
    }

    /// True or false when it was compared.
    pub(crate) fn is_same(&self, case: &str, side: &str) -> Option<bool> {
        self.same.get(&(case.to_owned(), side.to_owned())).copied()
    }
}

impl Samples {
    fn figure(mut self) -> Figure {
        self.values.sort_by(f64::total_cmp);
        let many = self.values.len();
        let middle = (self.values[(many - 1) / 2] + self.values[many / 2]) / 2.0;
        Figure {
            median: middle,
            least: self.values[0],
            most: self.values[many - 1],
            p99: self.values[(many * 99).div_ceil(100) - 1],
            taken: many,
            load: mean(&self.loads),
            unit: self.unit,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    let many = u32::try_from(values.len().max(1)).unwrap_or(u32::MAX);
    values.iter().sum::<f64>() / f64::from(many)
}

/// A value as people write it.
pub(crate) fn shown(value: f64, unit: &str) -> String {
    match unit {
        "s" if value < 1.0 => format!("{} ms", digits(value * 1e3)),
        "s" => format!("{} s", digits(value)),
        "B" if value.abs() < 1e6 => format!("{} kB", digits(value / 1e3)),
        "B" if value < 1e9 => format!("{} MB", digits(value / 1e6)),
        "B" => format!("{:.2} GB", value / 1e9),
        _ => format!("{value:.0}{unit}"),
    }
}

/// Three digits that count, none of them behind large numbers.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
