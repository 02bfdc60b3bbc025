//! A Jupyter front end as the place where a cell's outputs go and its questions are answered.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use jupyter_protocol::messaging::{
    DisplayData, ErrorOutput, ExecuteResult, ExecutionCount, InputRequest, JupyterMessage, Media,
    MediaType, Status, StreamContent, Transient, UpdateDisplayData,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::interrupt::Interrupter;
use crate::iopub::IoPub;
use crate::output::{Bundle, FrontEnd, Output, Stream};

/// How often a cell that waits for input looks whether it was interrupted.
const INTERRUPT_CHECK: Duration = Duration::from_millis(50);

/// A question to the user, on its way to the stdin socket.
pub struct Question {
    /// The `input_request`, addressed.
    pub message: JupyterMessage,
    /// Takes the answer. The question is over when it is dropped.
    pub answer: std::sync::mpsc::Sender<String>,
}

/// The front end that asked for the running cell.
pub struct JupyterFrontEnd {
    /// Where outputs go.
    pub iopub: IoPub,
    /// The request.
    pub request: Arc<JupyterMessage>,
    /// The cell's number.
    pub execution_count: usize,
    /// Show nothing.
    pub silent: bool,
    /// The front end can ask the user.
    pub allow_stdin: bool,
    /// Where questions go.
    pub questions: UnboundedSender<Question>,
    /// Tells when not to wait any longer.
    pub interrupter: Arc<Interrupter>,
}

impl FrontEnd for JupyterFrontEnd {
    fn show(&self, output: Output) {
        if self.silent {
            return;
        }
        let request = &*self.request;
        let message = match output {
            Output::Text(Stream::Stdout, text) => StreamContent::stdout(&text).as_child_of(request),
            Output::Text(Stream::Stderr, text) => StreamContent::stderr(&text).as_child_of(request),
            Output::Display(bundle) => DisplayData::new(media(bundle)).as_child_of(request),
            Output::Updating {
                id,
                again: true,
                bundle,
                ..
            } => UpdateDisplayData::new(media(bundle), &id).as_child_of(request),
            Output::Updating { id, bundle, .. } => display_with_id(id, bundle).as_child_of(request),
            Output::Result(bundle) => {
                let count = ExecutionCount::new(self.execution_count);
                ExecuteResult {
                    // The protocol's schema wants an object here, also an empty one.
                    transient: Some(Transient::default()),
                    ..ExecuteResult::new(count, media(bundle))
                }
                .as_child_of(request)
            }
            Output::Error(error) => ErrorOutput {
                ename: error.ename,
                evalue: error.evalue,
                traceback: error.traceback,
            }
            .as_child_of(request),
        };
        self.iopub.send_blocking(message);
    }

    fn ask(&self, prompt: &str, password: bool) -> Result<String, String> {
        if !self.allow_stdin {
            return Err("this front end does not let cells ask for input".into());
        }
        let question = InputRequest {
            prompt: prompt.to_owned(),
            password,
        };
        let (answer, answered) = std::sync::mpsc::channel();
        self.questions
            .send(Question {
                message: question.as_child_of(&self.request),
                answer,
            })
            .map_err(|_| "the kernel is shutting down")?;
        loop {
            match answered.recv_timeout(INTERRUPT_CHECK) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if !self.interrupter.is_requested() => {}
                Err(RecvTimeoutError::Timeout) => return Err("interrupted".into()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the question could not be asked".into());
                }
            }
        }
    }
}

/// A display that can be updated later by its id.
pub fn display_with_id(id: String, bundle: Bundle) -> DisplayData {
    DisplayData {
        transient: Some(Transient {
            display_id: Some(id),
        }),
        ..DisplayData::new(media(bundle))
    }
}

/// A bundle as the protocol's type. Every type is passed as it is: the protocol crate knows some,
/// users have more.
pub fn media(bundle: Bundle) -> Media {
    Media::new(bundle.into_iter().map(MediaType::Other).collect())
}

/// `busy`, as an answer to a request.
pub fn busy(request: &JupyterMessage) -> JupyterMessage {
    Status::busy().as_child_of(request)
}

/// `idle`, as an answer to a request.
pub fn idle(request: &JupyterMessage) -> JupyterMessage {
    Status::idle().as_child_of(request)
}
