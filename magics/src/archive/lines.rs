//! The records of a JSON Lines export: one on each line.

use std::collections::HashMap;

use serde_json::Value;

use super::Recording;
use crate::table::clean;

/// The property by which an export of several notebooks tells of which one a record is.
pub(crate) const SOURCE: &str = "source";

pub(super) fn read(name: &str, text: &[u8]) -> Vec<Recording> {
    let of = |source: Option<&str>| Recording {
        name: match source {
            Some(source) => format!("{name}: {}", clean(source)),
            None => name.to_owned(),
        },
        ..Recording::default()
    };
    let mut recordings = vec![of(None)];
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = || format!("line {}", index + 1);
        match serde_json::from_slice::<Value>(line) {
            Ok(json) => {
                let source = json.get(SOURCE).and_then(Value::as_str).map(str::to_owned);
                let recording = match source {
                    Some(source) => *places.entry(source).or_insert_with_key(|source| {
                        recordings.push(of(Some(source)));
                        recordings.len() - 1
                    }),
                    None => 0,
                };
                recordings[recording].take(json, place);
            }
            Err(error) => {
                recordings[0].problem(|| format!("{} is no valid JSON: {error}", place()));
            }
        }
    }
    if recordings.len() > 1 && recordings[0] == of(None) {
        recordings.remove(0);
    }
    recordings
}
