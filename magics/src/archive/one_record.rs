//! One record out of its JSON, which may be of any shape.

use serde_json::Value;

use crate::record::Record;

/// The version of the format that this program knows.
const KNOWN: u64 = 1;

/// How many rows of one record are kept: far more than any machine has GPUs for.
const ROW_LIMIT: usize = 1_000;

/// Parts without which a record still tells what the cell used.
const OPTIONAL: [&str; 4] = ["timeline", "repeats", "cuda_context", "warnings"];

/// The record, and a remark where a part of it was left out.
///
/// # Errors
/// Why it is no record of this version, in words.
pub(super) fn read(mut json: Value) -> Result<(Record, Option<String>), String> {
    match json.get("schema") {
        Some(schema) if schema.as_u64() == Some(KNOWN) => {}
        Some(schema) if schema.as_u64().is_some() => {
            return Err(format!(
                "it is of version {schema} of the format, and this program reads version {KNOWN}; \
                 a newer memtrack-kernel may read it"
            ));
        }
        _ => return Err("it does not tell the version of its format (`schema`)".into()),
    }
    let mut left_out = Vec::new();
    let reason = match parse(&json) {
        Ok(record) => return Ok((bounded(record, &mut left_out), remark(&left_out))),
        Err(reason) => reason,
    };
    let Value::Object(parts) = &mut json else {
        return Err(reason);
    };
    left_out.extend(OPTIONAL.into_iter().filter(|part| {
        let part = parts.get_mut(*part).map(std::mem::take);
        part.is_some_and(|part| !part.is_null())
    }));
    // `warnings` has no null.
    parts.remove("warnings");
    match parse(&json) {
        Ok(record) => Ok((bounded(record, &mut left_out), remark(&left_out))),
        Err(_) => Err(reason),
    }
}

fn parse(json: &Value) -> Result<Record, String> {
    serde::Deserialize::deserialize(json).map_err(|error: serde_json::Error| {
        // A hostile value would be quoted whole.
        let mut text = error.to_string();
        if let Some((end, _)) = text.char_indices().nth(200) {
            text.truncate(end);
            text.push('…');
        }
        text
    })
}

fn bounded(mut record: Record, left_out: &mut Vec<&'static str>) -> Record {
    if record.rows.len() > ROW_LIMIT {
        record.rows.truncate(ROW_LIMIT);
        left_out.push("rows after the thousandth");
    }
    record
}

fn remark(left_out: &[&str]) -> Option<String> {
    (!left_out.is_empty()).then(|| format!("left out, as unreadable: {}", left_out.join(", ")))
}
