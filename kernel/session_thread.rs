//! The thread that evaluates: brings the engine up, then takes one request after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jupyter_protocol::messaging::{
    CompleteReply, CompleteRequest, ExecuteInput, ExecuteReply, ExecuteRequest, ExecutionCount,
    ExpressionResult, HistoryReply, HistoryRequest, InspectReply, InspectRequest, JupyterMessage,
    JupyterMessageContent as Content, ReplyError, ReplyStatus, UnknownMessage, UpdateDisplayData,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::Parts;
use crate::assist::byte_of;
use crate::history::History;
use crate::iopub::IoPub;
use crate::jupyter::{JupyterFrontEnd, Question, busy, display_with_id, idle, media};
use crate::output::{CellError, FrontEnd, text_bundle};
use crate::session::{CellOutcome, CellRequest, Session};

/// A cell that waits longer than this for the engine is told so.
const NOTICE_AFTER: Duration = Duration::from_millis(700);

/// Nobody asks for anything for this long: time to warm rust-analyzer up.
const WARM_AFTER: Duration = Duration::from_millis(200);

/// rust-analyzer recurses deeply into large code.
const STACK_BYTES: usize = 64 << 20;

/// What the thread is asked to do.
pub enum Job {
    /// Answer a request of the shell channel.
    Request(Arc<JupyterMessage>),
    /// End, and say so.
    Stop(oneshot::Sender<()>),
}

/// The way to the thread.
pub struct SessionHandle {
    jobs: mpsc::Sender<Job>,
    state: Arc<State>,
    ready: watch::Receiver<Option<f64>>,
    iopub: IoPub,
}

/// What the sockets' tasks may know of the session at any time.
#[derive(Default)]
struct State {
    /// Requests sent and not yet answered.
    pending: AtomicUsize,
    /// Requests sent.
    sent: AtomicU64,
    /// A cell has been told that the engine is still starting.
    noticed: AtomicBool,
    history: Mutex<History>,
}

impl SessionHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system refuses a thread.
    pub fn start(
        parts: Parts,
        iopub: IoPub,
        replies: UnboundedSender<JupyterMessage>,
        questions: UnboundedSender<Question>,
    ) -> Result<SessionHandle> {
        let (jobs, incoming) = mpsc::channel();
        let (ready, when_ready) = watch::channel(None);
        let state = Arc::new(State::default());
        let thread = SessionThread {
            incoming,
            state: Arc::clone(&state),
            iopub: iopub.clone(),
            replies,
            questions,
            ready,
            answered: 0,
            abort_up_to: 0,
        };
        std::thread::Builder::new()
            .name("session".into())
            .stack_size(STACK_BYTES)
            .spawn(move || thread.run(parts))
            .context("no thread can be had")?;
        Ok(SessionHandle {
            jobs,
            state,
            ready: when_ready,
            iopub,
        })
    }

    /// Whether a request would be answered now, and not after a running cell.
    pub fn is_free(&self) -> bool {
        self.ready.borrow().is_some() && self.state.pending.load(SeqCst) == 0
    }

    /// Hands a request over.
    pub fn send(&self, job: Job) {
        if let Job::Request(request) = &job {
            self.state.pending.fetch_add(1, SeqCst);
            self.state.sent.fetch_add(1, SeqCst);
            let waits = matches!(&request.content, Content::ExecuteRequest(cell) if !cell.silent)
                && self.ready.borrow().is_none();
            if waits && !self.state.noticed.swap(true, SeqCst) {
                tokio::spawn(tell_that_it_waits(
                    self.iopub.clone(),
                    Arc::clone(request),
                    self.ready.clone(),
                ));
            }
        }
        let _ = self.jobs.send(job);
    }

    /// What was executed, as far as the request asks for it.
    pub fn history(&self, request: &HistoryRequest) -> HistoryReply {
        let history = self.state.history.lock();
        HistoryReply::new(
            history
                .map(|history| history.select(request))
                .unwrap_or_default(),
        )
    }

    /// Ends the thread after the running cell. Done when the future is.
    pub fn stop(&self) -> impl Future<Output = ()> + use<> {
        let (ended, end) = oneshot::channel();
        self.send(Job::Stop(ended));
        async move {
            let _ = end.await;
        }
    }
}

/// Says in the waiting cell that the engine is starting, and later that it has started.
async fn tell_that_it_waits(
    iopub: IoPub,
    request: Arc<JupyterMessage>,
    mut ready: watch::Receiver<Option<f64>>,
) {
    let started = async {
        let _ = ready.wait_for(Option::is_some).await;
    };
    if tokio::time::timeout(NOTICE_AFTER, started).await.is_ok() {
        return;
    }
    let id = format!("memtrack-start-{}", std::process::id());
    let waiting = text_bundle("Rust is starting; this cell runs as soon as it is up …");
    let notice = display_with_id(id.clone(), waiting);
    iopub.send(notice.as_child_of(&request)).await;
    let text = match ready
        .wait_for(Option::is_some)
        .await
        .map(|seconds| *seconds)
    {
        Ok(Some(seconds)) => format!("Rust was started in {seconds:.1} s."),
        Ok(None) | Err(_) => "Rust did not start.".to_owned(),
    };
    let update = UpdateDisplayData::new(media(text_bundle(text)), &id);
    iopub.send(update.as_child_of(&request)).await;
}

struct SessionThread {
    incoming: mpsc::Receiver<Job>,
    state: Arc<State>,
    iopub: IoPub,
    replies: UnboundedSender<JupyterMessage>,
    questions: UnboundedSender<Question>,
    ready: watch::Sender<Option<f64>>,
    answered: u64,
    abort_up_to: u64,
}

impl SessionThread {
    fn run(mut self, parts: Parts) {
        let start = Instant::now();
        let interrupter = Arc::clone(&parts.interrupter);
        let mut session = Session::new(parts);
        session.start_engine();
        let _ = self.ready.send(Some(start.elapsed().as_secs_f64()));
        let mut warmed = false;
        loop {
            let job = match self.incoming.recv_timeout(WARM_AFTER) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) if !std::mem::replace(&mut warmed, true) => {
                    session.warm();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => match self.incoming.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let request = match job {
                Job::Stop(ended) => {
                    session.stop();
                    let _ = ended.send(());
                    return;
                }
                Job::Request(request) => request,
            };
            self.answered += 1;
            let is_cell = matches!(request.content, Content::ExecuteRequest(_));
            let _running = is_cell.then(|| interrupter.begin());
            self.iopub.send_blocking(busy(&request));
            let reply: Option<Content> = match &request.content {
                Content::ExecuteRequest(_) if self.answered <= self.abort_up_to => Some(aborted()),
                Content::ExecuteRequest(execute) => {
                    let reply = self.execute(&mut session, &request, execute, &interrupter);
                    Some(reply.into())
                }
                Content::CompleteRequest(complete) => {
                    Some(completion(&mut session, complete).into())
                }
                Content::InspectRequest(inspect) => Some(inspection(&mut session, inspect).into()),
                _ => None,
            };
            // Before the reply: who has it may ask for a completion at once.
            self.state.pending.fetch_sub(1, SeqCst);
            if let Some(content) = reply {
                let _ = self
                    .replies
                    .send(JupyterMessage::new(content, Some(&request)));
            }
            self.iopub.send_blocking(idle(&request));
        }
    }

    fn execute(
        &mut self,
        session: &mut Session,
        request: &Arc<JupyterMessage>,
        execute: &ExecuteRequest,
        interrupter: &Arc<crate::interrupt::Interrupter>,
    ) -> ExecuteReply {
        let cell = CellRequest {
            code: execute.code.clone(),
            counted: execute.store_history && !execute.silent,
            user_expressions: execute
                .user_expressions
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
        };
        let execution_count = session.begin(&cell);
        if !execute.silent {
            let input = ExecuteInput {
                code: execute.code.clone(),
                execution_count: ExecutionCount::new(execution_count),
            };
            self.iopub.send_blocking(input.as_child_of(request));
        }
        if cell.counted
            && !cell.code.trim().is_empty()
            && let Ok(mut history) = self.state.history.lock()
        {
            history.add(execution_count, cell.code.clone());
        }
        let front_end: Arc<dyn FrontEnd> = Arc::new(JupyterFrontEnd {
            iopub: self.iopub.clone(),
            request: Arc::clone(request),
            execution_count,
            silent: execute.silent,
            allow_stdin: execute.allow_stdin,
            questions: self.questions.clone(),
            interrupter: Arc::clone(interrupter),
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| session.execute(&cell, &front_end)))
            .unwrap_or_else(|_| CellOutcome::failed(CellError::plain(
                "InternalError",
                "the kernel failed internally; its log has the details. Restart it if later cells \
                 fail too",
            )));
        if outcome.error.is_some() && execute.stop_on_error {
            self.abort_up_to = self.state.sent.load(SeqCst);
        }
        reply(execution_count, outcome)
    }
}

/// The answer to a cell that was queued behind one that failed. It has no number: front ends would
/// show it as the cell's.
fn aborted() -> Content {
    Content::UnknownMessage(UnknownMessage {
        msg_type: "execute_reply".to_owned(),
        content: serde_json::json!({ "status": "aborted" }),
    })
}

fn reply(execution_count: usize, outcome: CellOutcome) -> ExecuteReply {
    let user_expressions = outcome
        .user_expressions
        .into_iter()
        .map(|(name, value)| {
            let result = match value {
                Ok(bundle) => ExpressionResult::Ok {
                    data: media(bundle),
                    metadata: Default::default(),
                },
                Err(error) => ExpressionResult::Error {
                    ename: error.ename,
                    evalue: error.evalue,
                    traceback: error.traceback,
                },
            };
            (name, result)
        })
        .collect();
    ExecuteReply {
        status: match outcome.error {
            Some(_) => ReplyStatus::Error,
            None => ReplyStatus::Ok,
        },
        execution_count: ExecutionCount::new(execution_count),
        user_expressions: Some(user_expressions),
        error: outcome.error.map(|error| {
            let CellError {
                ename,
                evalue,
                traceback,
            } = error;
            Box::new(ReplyError {
                ename,
                evalue,
                traceback,
            })
        }),
        ..ExecuteReply::default()
    }
}

/// Completions with cursors in code points; evcxr counts bytes.
fn completion(session: &mut Session, request: &CompleteRequest) -> CompleteReply {
    let offset = byte_of(&request.code, request.cursor_pos);
    let Some(found) = session.completions(&request.code, offset) else {
        return CompleteReply {
            cursor_start: request.cursor_pos,
            cursor_end: request.cursor_pos,
            ..CompleteReply::default()
        };
    };
    let start = char_offset(&request.code, found.start_offset);
    let end = char_offset(&request.code, found.end_offset);
    // What a front end that knows the experimental field shows beside each match.
    let types: Vec<_> = found
        .completions
        .iter()
        .map(|completion| {
            serde_json::json!({
                "text": completion.code,
                "type": completion.kind,
                "signature": completion.label,
                "start": start,
                "end": end,
            })
        })
        .collect();
    let mut metadata = serde_json::Map::new();
    metadata.insert("_jupyter_types_experimental".into(), types.into());
    CompleteReply {
        matches: found
            .completions
            .into_iter()
            .map(|completion| completion.code)
            .collect(),
        cursor_start: start,
        cursor_end: end,
        metadata,
        ..CompleteReply::default()
    }
}

fn inspection(session: &mut Session, request: &InspectRequest) -> InspectReply {
    let offset = byte_of(&request.code, request.cursor_pos);
    match session.inspect(&request.code, offset) {
        Some(bundle) => InspectReply {
            found: true,
            data: media(bundle),
            ..InspectReply::default()
        },
        None => InspectReply::default(),
    }
}

fn char_offset(code: &str, bytes: usize) -> usize {
    code.char_indices()
        .take_while(|(offset, _)| *offset < bytes)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_code_points() {
        let code = "let é = \"😀\"; é";
        let chars = code.chars().count();
        assert_eq!(byte_of(code, chars), code.len());
        assert_eq!(char_offset(code, code.len()), chars);
        for position in 0..=chars {
            assert_eq!(char_offset(code, byte_of(code, position)), position);
        }
        assert_eq!(byte_of(code, 10_000), code.len());
    }
}
