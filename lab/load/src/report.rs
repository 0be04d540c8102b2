//! Results: a line of JSON for programs, text and a Markdown table for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// The measurements of one load with one fleet size.
#[derive(Clone, Debug)]
pub struct Report {
    pub scenario: &'static str,
    pub nodes: usize,
    figures: Vec<Figure>,
}

#[derive(Clone, Debug)]
struct Figure {
    /// Shown in text and tables.
    label: String,
    /// The key in JSON: the label with its unit.
    name: String,
    value: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Time,
    Bytes,
    Percent,
    Count,
}

impl Report {
    pub fn new(scenario: &'static str, nodes: usize) -> Report {
        Report { scenario, nodes, figures: Vec::new() }
    }

    pub fn time(&mut self, label: &str, value: Duration) -> &mut Report {
        self.add(label, value.as_secs_f64(), Unit::Time)
    }

    pub fn bytes(&mut self, label: &str, value: f64) -> &mut Report {
        self.add(label, value, Unit::Bytes)
    }

    /// Adds a share; 1 means all.
    pub fn share(&mut self, label: &str, value: f64) -> &mut Report {
        self.add(label, value * 100.0, Unit::Percent)
    }

    pub fn count(&mut self, label: &str, value: usize) -> &mut Report {
        self.add(label, value as f64, Unit::Count)
    }

    fn add(&mut self, label: &str, value: f64, unit: Unit) -> &mut Report {
        let suffix = match unit {
            Unit::Time => "_s",
            Unit::Bytes => "_bytes",
            Unit::Percent => "_percent",
            Unit::Count => "",
        };
        let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name = label.chars().map(word).collect::<String>() + suffix;
        self.figures.push(Figure { label: label.to_owned(), name, value, unit });
        self
    }

    /// One line of JSON: times in seconds, sizes in bytes.
    pub fn to_json(&self) -> String {
        let mut line = Map::new();
        line.insert("scenario".into(), self.scenario.into());
        line.insert("nodes".into(), self.nodes.into());
        for figure in &self.figures {
            line.insert(figure.name.clone(), json!(figure.value));
        }
        Value::Object(line).to_string()
    }

    /// A heading and one line for each figure.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}, {} nodes\n", self.scenario, self.nodes);
        for figure in &self.figures {
            let _ = writeln!(out, "  {:<58} {:>12}", figure.label, figure.shown());
        }
        out
    }
}

impl Figure {
    fn shown(&self) -> String {
        match self.unit {
            Unit::Time => time(self.value),
            Unit::Bytes => bytes(self.value),
            Unit::Percent => format!("{:.2} %", self.value),
            Unit::Count => format!("{}", self.value),
        }
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.1} us", s * 1e6),
    }
}

fn bytes(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n if n >= 1e4 => format!("{:.1} kB", n / 1e3),
        n => format!("{n:.0} B"),
    }
}

/// A Markdown table with a column for each fleet size and a row for each figure.
pub fn markdown(reports: &[Report]) -> String {
    let mut sizes: Vec<usize> = reports.iter().map(|r| r.nodes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut out = String::from("| |");
    sizes.iter().for_each(|n| {
        let _ = write!(out, " N={n} |");
    });
    out.push_str("\n|---|");
    sizes.iter().for_each(|_| out.push_str("---:|"));
    let mut done: Vec<(&str, &str)> = Vec::new();
    for (report, figure) in reports.iter().flat_map(|r| r.figures.iter().map(move |f| (r, f))) {
        let row = (report.scenario, figure.label.as_str());
        if done.contains(&row) {
            continue;
        }
        done.push(row);
        let _ = write!(out, "\n| {}: {} |", row.0, row.1);
        for size in &sizes {
            let same = |r: &&Report| r.nodes == *size && r.scenario == row.0;
            let cell = reports.iter().find(same).and_then(|r| r.figures.iter().find(|f| f.label == row.1));
            let _ = write!(out, " {} |", cell.map(Figure::shown).unwrap_or_default());
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_and_tables_show_the_same_figures() {
        let mut small = Report::new("join", 2);
        small.time("all first maps", Duration::from_millis(1500)).bytes("map", 12_345.0).count("cut", 0);
        let mut large = Report::new("join", 10);
        large.time("all first maps", Duration::from_micros(42)).share("core", 0.5);
        assert_eq!(
            small.to_json(),
            r#"{"scenario":"join","nodes":2,"all_first_maps_s":1.5,"map_bytes":12345.0,"cut":0.0}"#
        );
        assert!(small.to_text().contains("1.50 s"));
        assert_eq!(
            markdown(&[small, large]),
            "| | N=2 | N=10 |\n|---|---:|---:|\n| join: all first maps | 1.50 s | 42.0 us |\n\
             | join: map | 12.3 kB |  |\n| join: cut | 0 |  |\n| join: core |  | 50.00 % |\n"
        );
    }
}
