//! Fields of a TOML table, read with words for what is wrong with them.

use super::Wrong;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// The fields of a table.
pub(super) struct Fields<'a, 'i, 'w> {
    table: &'a DeTable<'i>,
    wrong: &'w mut Vec<Wrong>,
}

/// What is taken from a field.
pub(super) trait Values {
    /// A text.
    fn text(&mut self, name: &str, expected: &str) -> Option<Found<String>>;
    /// A number within bounds, both included.
    fn number(&mut self, name: &str, least: f64, most: f64, expected: &str) -> Option<f64>;
    /// A time: `"20ms"`.
    fn time(&mut self, name: &str) -> Option<Duration>;
    /// How often something happens, in 1000 s: `30`, `"30/s"`, `"1800/min"`.
    fn rate(&mut self, name: &str) -> Option<u64>;
    /// Lists of texts.
    fn lists(&mut self, name: &str, expected: &str) -> Vec<Vec<Found<String>>>;
}

impl<'a, 'i, 'w> Fields<'a, 'i, 'w> {
    /// The fields of `table`, which describes `what` and may have those that are `known`.
    pub(super) fn new(
        table: &'a DeTable<'i>,
        what: &str,
        known: &[&str],
        wrong: &'w mut Vec<Wrong>,
    ) -> Self {
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let near = known.iter().min_by_key(|k| distance(k, name));
            let near = near.filter(|k| distance(k, name) <= 2);
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.join(", ")),
            };
            wrong.push(Wrong::new(
                key.span().start,
                &format!("{what} has no field `{name}`"),
                &help,
            ));
        }
        Self { table, wrong }
    }

    pub(super) fn say(&mut self, at: usize, message: &str, help: &str) {
        self.wrong.push(Wrong::new(at, message, help));
    }

    fn get(&self, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        let mut fields = self.table.iter();
        let (_, value) = fields.find(|(key, _)| key.get_ref() == name)?;
        Some(value)
    }

    /// The tables of a list of tables.
    pub(super) fn tables(&mut self, name: &str) -> Vec<Found<&'a DeTable<'i>>> {
        let Some(value) = self.get(name) else {
            return vec![];
        };
        let mut tables = vec![];
        let help = format!("write each as [[{name}]] in a line, its fields below");
        let DeValue::Array(items) = value.get_ref() else {
            self.say(value.span().start, &format!("`{name}` is no list"), &help);
            return vec![];
        };
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => tables.push(Found {
                    value: table,
                    at: item.span().start,
                }),
                _ => self.say(
                    item.span().start,
                    &format!("this {name} is no table"),
                    &help,
                ),
            }
        }
        tables
    }

    fn refuse<T>(&mut self, name: &str, value: &Spanned<DeValue<'_>>, expected: &str) -> Option<T> {
        let kind = match value.get_ref() {
            DeValue::String(text) => format!("\"{text}\""),
            DeValue::Integer(n) => n.to_string(),
            DeValue::Float(n) => n.to_string(),
            DeValue::Boolean(b) => b.to_string(),
            DeValue::Datetime(d) => d.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("`{name}` is {kind}");
        self.say(
            value.span().start,
            &message,
            &format!("it must be {expected}"),
        );
        None
    }
}

impl Values for Fields<'_, '_, '_> {
    fn text(&mut self, name: &str, expected: &str) -> Option<Found<String>> {
        let value = self.get(name)?;
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Some(Found {
                value: text.clone().into_owned(),
                at: value.span().start,
            }),
            _ => self.refuse(name, value, expected),
        }
    }

    fn number(&mut self, name: &str, least: f64, most: f64, expected: &str) -> Option<f64> {
        let value = self.get(name)?;
        match number(value.get_ref()) {
            Some(n) if n >= least && n <= most => Some(n),
            _ => self.refuse(name, value, expected),
        }
    }

    fn time(&mut self, name: &str) -> Option<Duration> {
        let value = self.get(name)?;
        let parsed = match value.get_ref() {
            DeValue::String(text) => duration(text),
            _ => None,
        };
        match parsed {
            Some(time) if !time.is_zero() => Some(time),
            _ => self.refuse(
                name,
                value,
                "a time with its unit, such as \"20ms\", \"500us\" or \"1.5s\"",
            ),
        }
    }

    fn rate(&mut self, name: &str) -> Option<u64> {
        const EXPECTED: &str = "requests a second, such as 30, \"30/s\" or \"1800/min\"";
        let value = self.get(name)?;
        let per_second = match value.get_ref() {
            DeValue::String(text) => per_second(text),
            other => number(other),
        };
        // Of a request in a year to one in a nanosecond.
        match per_second.map(|n| (n * 1000.0 - 1e-6).ceil()) {
            Some(mhz) if (1.0..=1e12).contains(&mhz) => Some(mhz as u64),
            Some(mhz) if (0.0..1.0).contains(&mhz) => {
                let help =
                    "give at least one request in 1000 s, or leave the rate out if it is unknown";
                self.say(value.span().start, "the rate is too low", help);
                None
            }
            _ => self.refuse(name, value, EXPECTED),
        }
    }

    fn lists(&mut self, name: &str, expected: &str) -> Vec<Vec<Found<String>>> {
        let Some(value) = self.get(name) else {
            return vec![];
        };
        let DeValue::Array(lists) = value.get_ref() else {
            return self.refuse(name, value, expected).unwrap_or_default();
        };
        let mut found = vec![];
        for list in lists.iter() {
            let DeValue::Array(items) = list.get_ref() else {
                return self.refuse(name, list, expected).unwrap_or_default();
            };
            let mut texts = vec![];
            for item in items.iter() {
                match item.get_ref() {
                    DeValue::String(text) => texts.push(Found {
                        value: text.clone().into_owned(),
                        at: item.span().start,
                    }),
                    _ => return self.refuse(name, item, expected).unwrap_or_default(),
                }
            }
            found.push(texts);
        }
        found
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
            .ok()
            .map(|n| n as f64),
        DeValue::Float(n) => n.as_str().parse().ok(),
        _ => None,
    }
}

/// `20ms`, `1.5 s`: a number and its unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ')?;
    let (number, unit) = text.split_at(split);
    let ns = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "min" => 60e9,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    let ns = (number * ns).round();
    // A day at most.
    (0.0..=86_400e9)
        .contains(&ns)
        .then(|| Duration::from_nanos(ns as u64))
}

/// `30/s`, `1800/min`, `0.5 / s`, `100/h`.
fn per_second(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once('/')?;
    let seconds = match unit.trim() {
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Some(number / seconds)
}

/// How many letters two words differ by (Levenshtein, "Binary codes capable of correcting deletions,
/// insertions, and reversals", 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let change = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}
