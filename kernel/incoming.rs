//! Reads requests. The signature is checked first, in constant time, by `jupyter-zmq-client`;
//! what fails it, or is no message, never gets further than the log. A signed request with
//! something wrong inside it is still a request: it gets an answer.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jupyter_protocol::messaging::{
    Header, JupyterMessage, JupyterMessageContent as Content, UnknownMessage,
};
use jupyter_zmq_client::{RawMessage, RouterRecvConnection};
use ring::hmac;
use serde_json::{Map, Value, json};
use zeromq::{SocketRecv, ZmqMessage};

/// The next request of a channel. Anything that is none is logged and dropped.
pub async fn next_request(connection: &mut RouterRecvConnection, channel: &str) -> JupyterMessage {
    loop {
        let frames = match connection.socket.recv().await {
            Ok(frames) => frames,
            Err(error) => {
                eprintln!("memtrack-kernel: frames on {channel} were dropped: {error}");
                // The socket's own trouble may repeat at once; do not spin on it.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let message = read(frames, &connection.mac);
        match message {
            Ok(message) => return message,
            Err(error) => {
                eprintln!("memtrack-kernel: a message on {channel} was dropped: {error:#}");
            }
        }
    }
}

/// What the frames say.
///
/// # Errors
/// Where they are no message, are not signed with the key (where there is one), or came before.
pub fn read(frames: ZmqMessage, key: &Option<hmac::Key>) -> Result<JupyterMessage> {
    let raw = RawMessage::from_multipart(frames, key)?;
    // Without a key, anyone may send anything anew.
    decode(if key.is_some() { first_time(raw)? } else { raw })
}

/// Refuses what came before: who has read a signed message must not be able to have it obeyed again.
fn first_time(raw: RawMessage) -> Result<RawMessage> {
    static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
    let mut hasher = DefaultHasher::new();
    // The parts that are signed, on whatever channel they come.
    raw.jparts[..4].hash(&mut hasher);
    let mut seen = SEEN.lock().unwrap_or_else(|it| it.into_inner());
    if !seen.get_or_insert_default().add(hasher.finish()) {
        bail!("the very same came before: it is replayed");
    }
    Ok(raw)
}

/// The latest messages.
#[derive(Default)]
struct Seen {
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Seen {
    /// As many as jupyter_client remembers.
    const CAPACITY: usize = 1 << 16;

    /// False if it was there already.
    fn add(&mut self, message: u64) -> bool {
        if !self.known.insert(message) {
            return false;
        }
        self.order.push_back(message);
        if self.order.len() > Seen::CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

fn decode(raw: RawMessage) -> Result<JupyterMessage> {
    let header: Header = serde_json::from_slice(&raw.jparts[0]).context("its header")?;
    let content: Value = serde_json::from_slice(&raw.jparts[3]).context("its content")?;
    let content = with_defaults(&header.msg_type, content);
    let content =
        Content::from_type_and_content(&header.msg_type, content).unwrap_or_else(|error| {
            eprintln!(
                "memtrack-kernel: the content of a {:?} is wrong: {error}",
                header.msg_type
            );
            Content::UnknownMessage(UnknownMessage {
                msg_type: header.msg_type.clone(),
                content: json!({ "error": error.to_string() }),
            })
        });
    Ok(JupyterMessage {
        zmq_identities: raw.zmq_identities,
        header,
        // An empty parent is sent as `{}`, which is no header.
        parent_header: serde_json::from_slice(&raw.jparts[1]).ok(),
        metadata: serde_json::from_slice(&raw.jparts[2]).context("its metadata")?,
        content,
        buffers: raw.jparts[4..].to_vec(),
        channel: None,
    })
}

/// Fills in what the protocol lets front ends leave out and the typed messages do not.
fn with_defaults(msg_type: &str, content: Value) -> Value {
    let defaults = match msg_type {
        "execute_request" => json!({
            "silent": false, "store_history": true, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true,
        }),
        "history_request" => json!({
            "output": false, "raw": true, "session": 0, "start": 0, "stop": 0, "n": 10_000,
            "pattern": "*", "unique": false,
        }),
        "inspect_request" => json!({ "detail_level": 0 }),
        "shutdown_request" => json!({ "restart": false }),
        "comm_open" | "comm_msg" | "comm_close" => json!({ "data": {} }),
        _ => return content,
    };
    let (Value::Object(mut filled), Value::Object(given)) = (defaults, content.clone()) else {
        return content;
    };
    let given: Map<String, Value> = given
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    filled.extend(given);
    Value::Object(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupyter_protocol::messaging::HistoryRequest;

    fn content(msg_type: &str, content: Value) -> Content {
        Content::from_type_and_content(msg_type, with_defaults(msg_type, content)).unwrap()
    }

    #[test]
    fn the_latest_messages_are_known() {
        let mut seen = Seen::default();
        let capacity = Seen::CAPACITY as u64;
        assert!((0..capacity).all(|message| seen.add(message)));
        assert!(!seen.add(0) && !seen.add(capacity - 1));
        assert!(seen.add(capacity));
        // The oldest was forgotten for it.
        assert!(seen.add(0) && !seen.add(2));
        assert_eq!(seen.known.len(), Seen::CAPACITY);
    }

    #[test]
    fn what_front_ends_leave_out_is_filled_in() {
        let execute = content("execute_request", json!({"code": "1", "silent": true}));
        let Content::ExecuteRequest(execute) = execute else {
            panic!("not an execute_request")
        };
        assert!(execute.silent && execute.store_history && execute.stop_on_error);
        let search = json!({"hist_access_type": "search", "pattern": "a*", "stop": null});
        assert!(matches!(
            content("history_request", search),
            Content::HistoryRequest(HistoryRequest::Search { n: 10_000, .. })
        ));
    }
}
