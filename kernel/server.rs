//! The sockets: one task owns each, one exhaustive match for each channel. Requests that need
//! evcxr go to the session's thread (`session_thread.rs`); all others are answered here, also
//! while a cell runs. Every request is wrapped in busy and idle by [`Server::answer`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jupyter_protocol::messaging::{
    CommClose, CommInfoReply, CompleteReply, InterruptReply, IsCompleteReply, JupyterMessage,
    JupyterMessageContent as Content, ReplyStatus, ShutdownReply, UnknownMessage,
};
use jupyter_zmq_client::{KernelStdinConnection, RouterRecvConnection, RouterSendConnection};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zeromq::{RouterSocket, Socket, SocketRecv, SocketSend};

use crate::incoming::next_request;
use crate::interrupt::Interrupter;
use crate::iopub::IoPub;
use crate::is_complete::{Completeness, check};
use crate::jupyter::{Question, busy, idle};
use crate::link::Link;
use crate::session_thread::{Job, SessionHandle};
use crate::{connection_file, guard, kernel_info, magic_help, usage};

/// How long the end of the session may take before the kernel ends without it.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// What the tasks share.
pub struct Server {
    iopub: IoPub,
    session: SessionHandle,
    interrupter: Arc<Interrupter>,
    link: Arc<Link>,
    usage: usage::Usage,
}

/// Binds the sockets of a connection file and serves until a shutdown is asked for. True if it is
/// to be a restart.
///
/// # Errors
/// Where the connection file cannot be read or a socket cannot be bound.
pub async fn serve(file: &Path, parts: crate::Parts) -> Result<()> {
    let outside = connection_file::read(file)?;
    for warning in connection_file::warnings(file, &outside) {
        eprintln!("memtrack-kernel: {warning}");
    }
    let info = guard::inside(&outside, parts.work_dir.path());
    let id = uuid::Uuid::new_v4().to_string();
    let bind = |name: &'static str| move || format!("the {name} socket cannot be bound");
    let iopub = jupyter_zmq_client::create_kernel_iopub_xpub_connection(&info, &id)
        .await
        .with_context(bind("iopub"))?;
    let shell = jupyter_zmq_client::create_kernel_shell_connection(&info, &id)
        .await
        .with_context(bind("shell"))?;
    let control = jupyter_zmq_client::create_kernel_control_connection(&info, &id)
        .await
        .with_context(bind("control"))?;
    let stdin = jupyter_zmq_client::create_kernel_stdin_connection(&info, &id)
        .await
        .with_context(bind("stdin"))?;
    // Not the library's REP socket: of a peer that leaves in the middle of a frame, that tells for ever.
    let mut heartbeat = RouterSocket::new();
    let bound = heartbeat.bind(&info.hb_url()).await;
    bound.with_context(bind("heartbeat"))?;

    guard::listen(&outside, &info).await?;

    let iopub = IoPub::start(iopub);
    let (questions, asked) = unbounded_channel();
    let (shell_sender, shell_receiver) = shell.split();
    let (control_sender, control_receiver) = control.split();
    let shell_replies = own_sender(shell_sender);
    let control_replies = own_sender(control_sender);
    let crate::Parts {
        link, interrupter, ..
    } = &parts;
    let server = Arc::new(Server {
        usage: usage::Usage::new(),
        interrupter: Arc::clone(interrupter),
        link: Arc::clone(link),
        iopub: iopub.clone(),
        session: SessionHandle::start(parts, iopub, shell_replies.clone(), questions)?,
    });
    let (stop, mut stopped) = unbounded_channel();
    tokio::spawn(serve_heartbeat(heartbeat));
    tokio::spawn(serve_stdin(stdin, asked));
    tokio::spawn(serve_shell(
        Arc::clone(&server),
        shell_receiver,
        shell_replies,
        stop.clone(),
    ));
    tokio::spawn(serve_control(
        Arc::clone(&server),
        control_receiver,
        control_replies,
        stop.clone(),
    ));
    tokio::spawn(watch_for_the_end(stop));
    stopped.recv().await;
    server.shut_down().await;
    guard::remove_sockets(&outside);
    Ok(())
}

/// Gives a sending half to a task of its own.
fn own_sender(mut connection: RouterSendConnection) -> UnboundedSender<JupyterMessage> {
    let (sender, mut messages) = unbounded_channel::<JupyterMessage>();
    tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            if let Err(error) = connection.send(message).await {
                eprintln!("memtrack-kernel: a reply was not sent: {error}");
            }
        }
    });
    sender
}

async fn serve_shell(
    server: Arc<Server>,
    mut connection: RouterRecvConnection,
    replies: UnboundedSender<JupyterMessage>,
    stop: UnboundedSender<()>,
) {
    loop {
        let request = next_request(&mut connection, "shell").await;
        // These need evcxr, one after the other, so the session's thread answers them.
        let job = match &request.content {
            Content::ExecuteRequest(_) => true,
            Content::CompleteRequest(complete) => {
                magic_help::complete(&complete.code, complete.cursor_pos).is_none()
                    && server.session.is_free()
            }
            Content::InspectRequest(inspect) => {
                magic_help::inspect(&inspect.code, inspect.cursor_pos).is_none()
                    && server.session.is_free()
            }
            _ => false,
        };
        if job {
            server.session.send(Job::Request(Arc::new(request)));
        } else {
            server.answer(request, &replies, &stop).await;
        }
    }
}

async fn serve_control(
    server: Arc<Server>,
    mut connection: RouterRecvConnection,
    replies: UnboundedSender<JupyterMessage>,
    stop: UnboundedSender<()>,
) {
    loop {
        let request = next_request(&mut connection, "control").await;
        server.answer(request, &replies, &stop).await;
    }
}

impl Server {
    /// Answers one request, between busy and idle.
    async fn answer(
        &self,
        request: JupyterMessage,
        replies: &UnboundedSender<JupyterMessage>,
        stop: &UnboundedSender<()>,
    ) {
        // These come first: what is to be ended may be what makes iopub wait.
        let ends = matches!(request.content, Content::ShutdownRequest(_));
        if ends {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(SHUTDOWN_LIMIT).await;
                let _ = stop.send(());
            });
        }
        if matches!(request.content, Content::InterruptRequest(_)) {
            self.interrupter.interrupt();
        }
        self.iopub.send(busy(&request)).await;
        let reply = self.reply(&request).await;
        if let Some(content) = reply {
            let _ = replies.send(JupyterMessage::new(content, Some(&request)));
        }
        self.iopub.send(idle(&request)).await;
        if ends {
            let _ = stop.send(());
        }
    }

    async fn reply(&self, request: &JupyterMessage) -> Option<Content> {
        Some(match &request.content {
            Content::KernelInfoRequest(_) => kernel_info::reply().await.into(),
            Content::IsCompleteRequest(is_complete) => match check(&is_complete.code) {
                Completeness::Complete => IsCompleteReply::complete(),
                Completeness::Incomplete { indent } => IsCompleteReply::incomplete(indent),
                Completeness::Invalid => IsCompleteReply::invalid(),
                Completeness::Unknown => IsCompleteReply::unknown(),
            }
            .into(),
            Content::HistoryRequest(history) => self.session.history(history).into(),
            Content::CommInfoRequest(_) => CommInfoReply {
                status: ReplyStatus::Ok,
                comms: Default::default(),
                error: None,
            }
            .into(),
            // There are no targets here, so the protocol asks for it to be closed at once.
            Content::CommOpen(open) => {
                let close = CommClose {
                    comm_id: open.comm_id.clone(),
                    data: Default::default(),
                };
                self.iopub.send(close.as_child_of(request)).await;
                return None;
            }
            // Of magics, or while a cell runs and evcxr cannot be asked.
            Content::CompleteRequest(complete) => {
                magic_help::complete(&complete.code, complete.cursor_pos)
                    .unwrap_or_else(|| CompleteReply {
                        cursor_start: complete.cursor_pos,
                        cursor_end: complete.cursor_pos,
                        ..CompleteReply::default()
                    })
                    .into()
            }
            Content::InspectRequest(inspect) => {
                magic_help::inspect(&inspect.code, inspect.cursor_pos)
                    .unwrap_or_default()
                    .into()
            }
            Content::InterruptRequest(_) => InterruptReply::new().into(),
            Content::ShutdownRequest(shutdown) => ShutdownReply {
                restart: shutdown.restart,
                status: ReplyStatus::Ok,
                error: None,
            }
            .into(),
            Content::UnknownMessage(unknown) if unknown.msg_type == "usage_request" => {
                unknown.reply(self.usage.reply(self.link.pid()).await)
            }
            // A request that is wrong inside: see `incoming.rs`.
            Content::UnknownMessage(unknown) if is_known_request(&unknown.msg_type) => unknown
                .reply(json!({
                    "status": "error",
                    "ename": "BadRequest",
                    "evalue": unknown.content["error"],
                    "traceback": [],
                })),
            Content::UnknownMessage(UnknownMessage { msg_type, .. }) => {
                eprintln!("memtrack-kernel: a message of unknown type {msg_type:?} was dropped");
                return None;
            }
            // Kernels send these or do not support them; from a front end they mean nothing.
            Content::ClearOutput(_)
            | Content::CommClose(_)
            | Content::CommInfoReply(_)
            | Content::CommMsg(_)
            | Content::CompleteReply(_)
            | Content::DebugReply(_)
            | Content::DebugRequest(_)
            | Content::DisplayData(_)
            | Content::ErrorOutput(_)
            | Content::ExecuteInput(_)
            | Content::ExecuteReply(_)
            | Content::ExecuteRequest(_)
            | Content::ExecuteResult(_)
            | Content::HistoryReply(_)
            | Content::InputReply(_)
            | Content::InputRequest(_)
            | Content::InspectReply(_)
            | Content::InterruptReply(_)
            | Content::IoPubWelcome(_)
            | Content::IsCompleteReply(_)
            | Content::KernelInfoReply(_)
            | Content::ShutdownReply(_)
            | Content::Status(_)
            | Content::StreamContent(_)
            | Content::UpdateDisplayData(_) => return None,
        })
    }

    async fn shut_down(&self) {
        self.interrupter.interrupt();
        let ended = self.session.stop();
        if tokio::time::timeout(SHUTDOWN_LIMIT, ended).await.is_err() {
            eprintln!("memtrack-kernel: the engine is still busy; the kernel ends without it");
        }
        crate::interrupt::kill_compilers(self.link.pid());
        self.link.kill_child();
        let _ = tokio::time::timeout(SHUTDOWN_LIMIT, self.iopub.barrier()).await;
    }
}

fn is_known_request(msg_type: &str) -> bool {
    const REQUESTS: [&str; 9] = [
        "execute_request",
        "complete_request",
        "inspect_request",
        "history_request",
        "is_complete_request",
        "comm_info_request",
        "kernel_info_request",
        "shutdown_request",
        "interrupt_request",
    ];
    REQUESTS.contains(&msg_type)
}

/// Echoes what it gets, as the protocol asks, with the envelope that leads back.
async fn serve_heartbeat(mut socket: RouterSocket) {
    loop {
        match socket.recv().await {
            Ok(message) => {
                let _ = socket.send(message).await;
            }
            Err(error) => {
                eprintln!("memtrack-kernel: a heartbeat was dropped: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Asks the user, one question at a time.
async fn serve_stdin(
    mut connection: KernelStdinConnection,
    mut asked: UnboundedReceiver<Question>,
) {
    let mut open: Option<Question> = None;
    loop {
        tokio::select! {
            question = asked.recv() => {
                let Some(question) = question else { return };
                if let Err(error) = connection.send(question.message.clone()).await {
                    eprintln!("memtrack-kernel: a question was not asked: {error}");
                } else {
                    open = Some(question);
                }
            }
            message = connection.read() => match message {
                Ok(JupyterMessage { content: Content::InputReply(reply), .. }) => {
                    if let Some(question) = open.take() {
                        let _ = question.answer.send(reply.value);
                    }
                }
                Ok(other) => {
                    let kind = other.message_type();
                    eprintln!("memtrack-kernel: a {kind:?} message on stdin was dropped");
                }
                Err(error) => {
                    eprintln!("memtrack-kernel: a message on stdin was dropped: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
        }
    }
}

/// Ends the kernel on SIGTERM, and when the server that started it is gone. An interrupt from the
/// keyboard is for the server; ours come as messages.
async fn watch_for_the_end(stop: UnboundedSender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let started_by = std::os::unix::process::parent_id();
    let watch_parent = std::env::var_os("JPY_PARENT_PID").is_some();
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => {}
            _ = every_second.tick() => {
                if watch_parent && std::os::unix::process::parent_id() != started_by {
                    break;
                }
            }
        }
    }
    let _ = stop.send(());
}
