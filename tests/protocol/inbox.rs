//! Messages as they come from one channel, signature checked, in order.

use std::collections::VecDeque;
use std::time::Duration;

use jupyter_zmq_client::{Connection, RawMessage};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use zeromq::SocketRecv;

/// A message from the kernel. Its parts are what was on the wire, not what a typed crate makes of
/// it.
#[derive(Debug)]
pub struct Message {
    pub msg_type: String,
    /// `msg_id` of the request that it answers, if it says one.
    pub parent: Option<String>,
    pub content: Value,
}

/// What one channel brought and nobody took yet.
pub struct Inbox {
    incoming: UnboundedReceiver<Result<Message, String>>,
    /// Read while something else was looked for.
    aside: VecDeque<Message>,
}

impl Inbox {
    /// Reads a socket until it closes.
    pub fn listen<S: SocketRecv + Send + 'static>(mut connection: Connection<S>) -> Inbox {
        let (sender, incoming) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(frames) = connection.socket.recv().await {
                let message = RawMessage::from_multipart(frames, &connection.mac)
                    .map_err(|error| error.to_string())
                    .and_then(|raw| decode(&raw));
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Inbox {
            incoming,
            aside: VecDeque::new(),
        }
    }

    /// The first message that `wanted` accepts; those before it stay for others. `Err` says why
    /// there is none.
    pub async fn take(
        &mut self,
        wanted: impl Fn(&Message) -> bool,
        limit: Duration,
    ) -> Result<Message, String> {
        if let Some(index) = self.aside.iter().position(&wanted) {
            return Ok(self.aside.remove(index).expect("the index was just found"));
        }
        let search = async {
            loop {
                let message = self
                    .incoming
                    .recv()
                    .await
                    .ok_or("the socket was closed")??;
                if wanted(&message) {
                    return Ok(message);
                }
                self.aside.push_back(message);
            }
        };
        match tokio::time::timeout(limit, search).await {
            Ok(found) => found,
            Err(_) => Err(format!("nothing came within {limit:?}")),
        }
    }

    /// Types of all messages that came and were not taken.
    pub fn left_over(&mut self) -> Vec<String> {
        while let Ok(Ok(message)) = self.incoming.try_recv() {
            self.aside.push_back(message);
        }
        self.aside
            .iter()
            .map(|message| message.msg_type.clone())
            .collect()
    }
}

fn decode(raw: &RawMessage) -> Result<Message, String> {
    let part = |index: usize| -> Result<Value, String> {
        serde_json::from_slice(&raw.jparts[index]).map_err(|error| format!("part {index}: {error}"))
    };
    let (header, parent, content) = (part(0)?, part(1)?, part(3)?);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if !part(2)?.is_object() {
        return Err("the metadata is no object".into());
    }
    Ok(Message {
        msg_type: text(&header["msg_type"]).ok_or("the header names no msg_type")?,
        parent: text(&parent["msg_id"]),
        content,
    })
}
