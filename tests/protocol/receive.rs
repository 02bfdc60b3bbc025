//! The receiving half of the front end: what must come next, and nothing else.

use memtrack::record::{MIME_TYPE, Record};
use serde_json::{Value, json};

use crate::frontend::{Frontend, PATIENCE, Request};
use crate::inbox::Message;

/// What an `error` message says.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub ename: String,
    pub evalue: String,
    /// Without colours.
    pub traceback: String,
}

impl Frontend {
    /// The reply, on the channel of the request.
    pub async fn recv_reply(&mut self, request: &Request) -> Value {
        let inbox = match request.on_control {
            true => &mut self.from_control,
            false => &mut self.from_shell,
        };
        let reply = inbox
            .take(|message| message.answers(request), PATIENCE)
            .await;
        let reply = self.got(&format!("the reply to {request:?}"), reply);
        let expected = request.msg_type.replace("_request", "_reply");
        assert_eq!(reply.msg_type, expected, "{:?}", reply.content);
        reply.content
    }

    /// Waits until the kernel has read what was sent on the shell channel: cells that arrive after
    /// one has failed are not aborted with it.
    pub async fn all_has_arrived(&mut self) {
        let request = self.send_shell("kernel_info_request", json!({})).await;
        self.recv_reply(&request).await;
        self.recv_busy(&request).await;
        self.recv_idle(&request).await;
    }

    /// The next iopub message of the request.
    pub async fn recv_iopub(&mut self, request: &Request) -> Message {
        let wanted = |message: &Message| message.answers(request);
        let message = self.from_iopub.take(wanted, PATIENCE).await;
        self.got(&format!("a message on iopub for {request:?}"), message)
    }

    /// The next iopub message of any request.
    pub async fn recv_any_iopub(&mut self) -> Message {
        let message = self.from_iopub.take(|_| true, PATIENCE).await;
        self.got("a message on iopub", message)
    }

    async fn recv_typed(&mut self, request: &Request, msg_type: &str) -> Value {
        let message = self.recv_iopub(request).await;
        assert_eq!(
            message.msg_type, msg_type,
            "for {request:?} came {:?}",
            message.content
        );
        message.content
    }

    pub async fn recv_busy(&mut self, request: &Request) {
        let status = self.recv_typed(request, "status").await;
        assert_eq!(status["execution_state"], "busy", "for {request:?}");
    }

    pub async fn recv_idle(&mut self, request: &Request) {
        let status = self.recv_typed(request, "status").await;
        assert_eq!(status["execution_state"], "idle", "for {request:?}");
    }

    /// The `execute_input`; gives the prompt's number.
    pub async fn recv_input(&mut self, request: &Request) -> u64 {
        let input = self.recv_typed(request, "execute_input").await;
        assert_eq!(input["code"], request.about);
        input["execution_count"].as_u64().expect("a number")
    }

    /// The data of the `execute_result`.
    pub async fn recv_result(&mut self, request: &Request) -> Value {
        self.recv_typed(request, "execute_result").await["data"].take()
    }

    /// A `display_data`: its data and its `display_id`.
    pub async fn recv_display(&mut self, request: &Request) -> (Value, Option<String>) {
        let mut display = self.recv_typed(request, "display_data").await;
        let id = display["transient"]["display_id"]
            .as_str()
            .map(str::to_owned);
        (display["data"].take(), id)
    }

    /// Exactly this text on stdout, in one message or more.
    pub async fn recv_stdout(&mut self, request: &Request, text: &str) {
        let mut printed = String::new();
        while printed.len() < text.len() {
            let stream = self.recv_typed(request, "stream").await;
            assert_eq!(stream["name"], "stdout", "for {request:?} came {stream}");
            printed.push_str(stream["text"].as_str().unwrap());
        }
        assert_eq!(printed, text, "for {request:?}");
    }

    /// The table of a tracked cell in all three renderings; gives the record. That records are what
    /// `record.schema.json` says is tested where they are made.
    pub async fn recv_table(&mut self, request: &Request) -> Record {
        let (mut data, _) = self.recv_display(request).await;
        for text in ["text/plain", "text/html"] {
            let text = data[text].as_str().unwrap_or_default();
            assert!(text.contains("peak"), "no table: {data}");
        }
        let sent = data[MIME_TYPE].take();
        let record: Record = serde_json::from_value(sent.clone())
            .unwrap_or_else(|error| panic!("no record: {error} in {sent:#}"));
        // Nothing is lost on the way there and back, so what was sent has all fields and no others.
        assert_eq!(serde_json::to_value(&record).unwrap(), sent);
        record
    }

    /// The kernel's question on the stdin channel: the prompt, and whether to hide the answer.
    pub async fn recv_input_request(&mut self, request: &Request) -> (String, bool) {
        let wanted = |message: &Message| message.answers(request);
        let question = self.from_stdin.take(wanted, PATIENCE).await;
        let question = self.got(&format!("an input_request for {request:?}"), question);
        assert_eq!(question.msg_type, "input_request");
        let prompt = question.content["prompt"].as_str().unwrap();
        (prompt.to_owned(), question.content["password"] == true)
    }

    /// All messages of the request up to its `idle`, but for statuses and `execute_input`.
    pub async fn recv_until_idle(&mut self, request: &Request) -> Vec<Message> {
        let mut outputs = Vec::new();
        loop {
            let message = self.recv_iopub(request).await;
            match message.msg_type.as_str() {
                "status" if message.content["execution_state"] == "idle" => return outputs,
                "status" | "execute_input" => {}
                _ => outputs.push(message),
            }
        }
    }

    /// A whole cell that must fail: one `error` message, the same error in the reply, and idle.
    pub async fn recv_failure(&mut self, request: &Request) -> Failure {
        self.recv_busy(request).await;
        self.recv_input(request).await;
        self.recv_failure_of_running(request).await
    }

    /// The rest of a cell that must fail.
    pub async fn recv_failure_of_running(&mut self, request: &Request) -> Failure {
        let outputs = self.recv_until_idle(request).await;
        let errors: Vec<&Message> = outputs
            .iter()
            .filter(|output| output.msg_type == "error")
            .collect();
        assert_eq!(
            errors.len(),
            1,
            "not one error for {request:?}: {outputs:#?}"
        );
        let reply = self.recv_reply(request).await;
        assert_eq!(reply["status"], "error", "for {request:?}: {reply:#}");
        let failure = Failure::read(&reply);
        assert_eq!(
            Failure::read(&errors[0].content),
            failure,
            "for {request:?}"
        );
        failure
    }

    /// Runs a cell that must succeed. Gives all its outputs.
    pub async fn run(&mut self, code: &str) -> Vec<Message> {
        let request = self.send_execute(code).await;
        let outputs = self.recv_until_idle(&request).await;
        let reply = self.recv_reply(&request).await;
        assert_eq!(reply["status"], "ok", "for {code:?}: {reply:#}");
        outputs
    }

    /// Runs an expression and gives its value as text.
    pub async fn value_of(&mut self, expression: &str) -> String {
        let outputs = self.run(expression).await;
        match &outputs[..] {
            [result] if result.msg_type == "execute_result" => result.content["data"]["text/plain"]
                .as_str()
                .unwrap()
                .to_owned(),
            _ => panic!("no single value of {expression:?}: {outputs:#?}"),
        }
    }

    /// The next cell works.
    pub async fn assert_works(&mut self) {
        assert_eq!(self.value_of("20 + 22").await, "42");
    }

    /// The kernel answers on both its channels.
    pub async fn assert_answers(&mut self) {
        let request = self.send_shell("kernel_info_request", json!({})).await;
        assert_eq!(
            self.recv_reply(&request).await["implementation"],
            "memtrack-kernel"
        );
        let request = self.send_control("kernel_info_request", json!({})).await;
        assert_eq!(
            self.recv_reply(&request).await["implementation"],
            "memtrack-kernel"
        );
    }

    /// The pid of the process that runs the cells.
    pub async fn child_pid(&mut self) -> i32 {
        let request = self.send_control("usage_request", json!({})).await;
        self.recv_reply(&request).await["pid"].as_i64().unwrap() as i32
    }

    /// Replies that no script took.
    pub fn replies_left_over(&mut self) -> Vec<String> {
        let mut left = self.from_shell.left_over();
        left.extend(self.from_control.left_over());
        left
    }

    pub fn got(&self, awaited: &str, message: Result<Message, String>) -> Message {
        message.unwrap_or_else(|reason| {
            let log = self.log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            panic!("{awaited}: {reason}. The kernel's log ends:\n{tail}")
        })
    }
}

impl Message {
    pub fn answers(&self, request: &Request) -> bool {
        self.parent.as_ref() == Some(&request.id)
    }
}

impl Failure {
    fn read(content: &Value) -> Failure {
        let text = |name: &str| content[name].as_str().expect(name).to_owned();
        let lines = content["traceback"].as_array().expect("traceback");
        assert!(!lines.is_empty(), "an error without a traceback: {content}");
        let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
        Failure {
            ename: text("ename"),
            evalue: text("evalue"),
            traceback: without_colours(&lines.join("\n")),
        }
    }
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut parts = text.split("\x1b[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}
