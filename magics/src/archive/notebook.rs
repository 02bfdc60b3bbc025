//! The records in the outputs of an executed notebook. Nothing else of it is kept, and the rest may
//! be as odd as it likes.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{ReadError, Recording};

/// Records of all versions begin so; a version that is not known is told as such.
const MIME_START: &str = "application/vnd.memtrack.v";

#[derive(Deserialize)]
struct Notebook {
    nbformat: Option<Value>,
    cells: Option<Vec<Cell>>,
}

#[derive(Deserialize)]
struct Cell {
    #[serde(default)]
    outputs: Option<Vec<Output>>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    data: Data,
}

/// What of an output's representations is a record.
#[derive(Default)]
struct Data(Vec<Value>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Data, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("representations by MIME type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut data = Data::default();
        while let Some(mime) = map.next_key::<String>()? {
            if mime.starts_with(MIME_START) {
                data.0.push(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(data)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Data::default())
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Data, E> {
        Ok(Data::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Data, E> {
        Ok(Data::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Data, E> {
        Ok(Data::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Data, E> {
        Ok(Data::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Data, E> {
        Ok(Data::default())
    }
}

pub(super) fn read(name: String, text: &[u8]) -> Result<Recording, ReadError> {
    let notebook: Notebook = serde_json::from_slice(text).map_err(|error| {
        let reason = error.to_string();
        if error.is_data() {
            ReadError::NotANotebook(name.clone(), reason)
        } else {
            ReadError::NotJson(name.clone(), reason)
        }
    })?;
    let cells = match (notebook.nbformat, notebook.cells) {
        (Some(format), Some(cells)) if format.as_u64() == Some(4) => cells,
        (Some(format), _) if format.as_u64().is_some_and(|format| format != 4) => {
            let reason =
                format!("it is of format {format}; open it in today's Jupyter and save it");
            return Err(ReadError::NotANotebook(name, reason));
        }
        (_, None) => return Err(ReadError::NotANotebook(name, "it has no cells".into())),
        (_, Some(_)) => {
            let reason = "it does not tell its format (`nbformat`)";
            return Err(ReadError::NotANotebook(name, reason.into()));
        }
    };
    let mut recording = Recording {
        name,
        ..Recording::default()
    };
    for (index, cell) in cells.into_iter().enumerate() {
        for output in cell.outputs.unwrap_or_default() {
            for json in output.data.0 {
                recording.take(json, || format!("cell {} of the notebook", index + 1));
            }
        }
    }
    Ok(recording)
}
