//! A Jupyter front end with its kernel, made so that a test reads as a script: send this, then
//! receive that. Every `recv_…` fails the test, with the kernel's log, when the next message of
//! the request is another one or none comes in time.

use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jupyter_protocol::connection_info::{ConnectionInfo, Transport};
use jupyter_protocol::messaging::{
    ExecuteRequest, JupyterMessage, JupyterMessageContent as Content, UnknownMessage,
};
use jupyter_zmq_client::{
    DealerSendConnection, create_client_control_connection, create_client_iopub_connection,
    create_client_shell_connection_with_identity, create_client_stdin_connection_with_identity,
    peer_identity_for_session,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::inbox::Inbox;
use crate::processes::{self, MARK, Process, eventually};

/// How long a message may take. Cells wait for evcxr's start, a compiler, and on a busy machine for
/// their turn.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long the kernel may take to end, and to kill what is to be killed.
pub const END_LIMIT: Duration = Duration::from_secs(5);

/// Something asked of the kernel, to which its answers refer.
#[derive(Debug, Clone)]
pub struct Request {
    pub id: String,
    pub msg_type: String,
    pub on_control: bool,
    /// For messages of failed tests.
    pub about: String,
}

/// A front end and its kernel. The kernel dies with it.
pub struct Frontend {
    pub process: Child,
    /// The kernel's pid.
    pub pid: i32,
    pub info: ConnectionInfo,
    pub shell: DealerSendConnection,
    pub control: DealerSendConnection,
    pub stdin: DealerSendConnection,
    pub from_shell: Inbox,
    pub from_control: Inbox,
    pub from_stdin: Inbox,
    pub from_iopub: Inbox,
    home: Arc<TempDir>,
    mark: String,
    started: Instant,
}

impl Frontend {
    /// Starts a kernel over ipc and connects. Cells are still to wait for evcxr.
    pub async fn start() -> Frontend {
        Frontend::start_in(Arc::new(new_home()), Transport::IPC).await
    }

    /// Starts a kernel whose compiler needs a second for every answer, so that cells wait for evcxr.
    pub async fn start_slowly() -> Frontend {
        let home = Arc::new(new_home());
        let folder = home.path().join("slow");
        std::fs::create_dir(&folder).unwrap();
        let rustc = which::which("rustc").unwrap();
        let script = format!("#!/bin/sh\nsleep 1\nexec '{}' \"$@\"\n", rustc.display());
        let file = folder.join("rustc");
        // Another process writes it: what this one has open for writing may be inherited by a process
        // that another test starts just then, and cannot be executed meanwhile.
        let written = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$1\" > \"$0\" && chmod +x \"$0\""])
            .args([file.as_os_str(), script.as_ref()])
            .status();
        assert!(written.unwrap().success());
        let path = std::env::var_os("PATH").unwrap();
        let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).unwrap();
        Frontend::start_with(home, Transport::IPC, &[("PATH", &path)]).await
    }

    /// Starts a kernel over ipc and waits until evcxr is up, which leaves no trace in the session.
    pub async fn ready() -> Frontend {
        let mut kernel = Frontend::start().await;
        kernel.warm().await;
        kernel
    }

    /// Waits until evcxr is up.
    pub async fn warm(&mut self) {
        let silent = ExecuteRequest {
            silent: true,
            ..cell("()")
        };
        let request = self.send_cell(silent).await;
        self.recv_until_idle(&request).await;
        self.recv_reply(&request).await;
    }

    /// Starts a kernel that keeps its files in `home`, and connects.
    pub async fn start_in(home: Arc<TempDir>, transport: Transport) -> Frontend {
        Frontend::start_with(home, transport, &[]).await
    }

    async fn start_with(
        home: Arc<TempDir>,
        transport: Transport,
        variables: &[(&str, &OsStr)],
    ) -> Frontend {
        let mark = uuid::Uuid::new_v4().to_string();
        let info = connection_info(&home, transport, &mark);
        let file = home.path().join(format!("{mark}.json"));
        std::fs::write(&file, serde_json::to_vec(&info).unwrap()).unwrap();
        let log = std::fs::File::create(log_file(&home, &mark)).unwrap();
        let started = Instant::now();
        let process = Command::new(env!("CARGO_BIN_EXE_memtrack-kernel"))
            .arg("kernel")
            .arg(&file)
            .env(MARK, &mark)
            .env("TMPDIR", temporary_files(&home))
            // Neither the user's settings nor the user's cache take part.
            .env("XDG_CONFIG_HOME", home.path().join("config"))
            .env(
                "MEMTRACK_CACHE_DIR",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
            )
            .env_remove("JPY_PARENT_PID")
            .env_remove("MEMTRACK_HEAP")
            .env_remove("RUST_BACKTRACE")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the kernel can be started");
        let pid = process.id().unwrap() as i32;
        // The client library waits longer and longer between its tries, so it comes after.
        eventually("the kernel listens", PATIENCE, || {
            listens(&info).then_some(())
        })
        .await;
        let identity = peer_identity_for_session(&mark).unwrap();
        let shell = create_client_shell_connection_with_identity(&info, &mark, identity.clone());
        let (shell, from_shell) = shell.await.expect("shell").split();
        let stdin = create_client_stdin_connection_with_identity(&info, &mark, identity);
        let (stdin, from_stdin) = stdin.await.expect("stdin").split();
        let control = create_client_control_connection(&info, &mark);
        let (control, from_control) = control.await.expect("control").split();
        let iopub = create_client_iopub_connection(&info, "", &mark).await;
        let mut frontend = Frontend {
            process,
            pid,
            info,
            shell,
            control,
            stdin,
            from_shell: Inbox::listen(from_shell),
            from_control: Inbox::listen(from_control),
            from_stdin: Inbox::listen(from_stdin),
            from_iopub: Inbox::listen(iopub.expect("iopub")),
            home,
            mark,
            started,
        };
        // Before it, messages on iopub could be missed.
        let welcome = frontend.from_iopub.take(|_| true, PATIENCE).await;
        let welcome = frontend.got("iopub_welcome", welcome);
        assert_eq!(welcome.msg_type, "iopub_welcome");
        frontend
    }

    /// Time since the kernel was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The folder in which the kernel's files are. Another kernel can be started in it.
    pub fn home(&self) -> Arc<TempDir> {
        Arc::clone(&self.home)
    }

    /// Names of what lies in the kernel's folder for temporary files.
    pub fn temporary_files(&self) -> Vec<String> {
        std::fs::read_dir(temporary_files(&self.home))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// What the kernel wrote to its stderr.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(log_file(&self.home, &self.mark)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The kernel and all living processes that it started.
    pub fn processes(&self) -> Vec<Process> {
        processes::marked(&self.mark)
    }

    /// A path in the kernel's folder for a cell to wait for; see [`until_exists`].
    pub fn gate(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    // Sending.

    /// Sends a cell.
    pub async fn send_execute(&mut self, code: &str) -> Request {
        self.send_cell(cell(code)).await
    }

    /// Sends a cell with all its options.
    pub async fn send_cell(&mut self, cell: ExecuteRequest) -> Request {
        let about = cell.code.clone();
        let message = JupyterMessage::new(cell, None);
        send_message(&mut self.shell, message, false, about).await
    }

    /// Sends any request on the shell channel.
    pub async fn send_shell(&mut self, msg_type: &str, content: Value) -> Request {
        let message = message(msg_type, content);
        send_message(&mut self.shell, message, false, String::new()).await
    }

    /// Sends any request on the control channel.
    pub async fn send_control(&mut self, msg_type: &str, content: Value) -> Request {
        let message = message(msg_type, content);
        send_message(&mut self.control, message, true, String::new()).await
    }

    /// Interrupts, as front ends do it, and takes the answer.
    pub async fn interrupt(&mut self) {
        let request = self.send_control("interrupt_request", json!({})).await;
        assert_eq!(self.recv_reply(&request).await["status"], "ok");
    }

    /// Answers an `input_request`.
    pub async fn send_input(&mut self, line: &str) {
        let message = message("input_reply", json!({ "status": "ok", "value": line }));
        self.stdin.send(message).await.unwrap();
    }
}

impl Drop for Frontend {
    /// A test that fails leaves no process behind either: a compiler could go on for hours.
    fn drop(&mut self) {
        for process in self.processes() {
            processes::kill(process.pid);
        }
    }
}

/// A cell with the options that front ends send.
pub fn cell(code: &str) -> ExecuteRequest {
    ExecuteRequest::new(code.to_owned())
}

/// A folder for the files of kernels.
pub fn new_home() -> TempDir {
    tempfile::Builder::new()
        .prefix("protocol-")
        .tempdir()
        .expect("a folder")
}

/// Rust for a cell: waits until the file exists.
pub fn until_exists(gate: &Path) -> String {
    format!(
        "while !std::path::Path::new({gate:?}).exists() {{ \
         std::thread::sleep(std::time::Duration::from_millis(5)); }}"
    )
}

fn message(msg_type: &str, content: Value) -> JupyterMessage {
    let msg_type = msg_type.to_owned();
    JupyterMessage::new(
        Content::UnknownMessage(UnknownMessage { msg_type, content }),
        None,
    )
}

async fn send_message(
    connection: &mut DealerSendConnection,
    message: JupyterMessage,
    on_control: bool,
    about: String,
) -> Request {
    let request = Request {
        id: message.header.msg_id.clone(),
        msg_type: message.header.msg_type.clone(),
        on_control,
        about,
    };
    connection.send(message).await.expect("the message is sent");
    request
}

fn log_file(home: &TempDir, mark: &str) -> PathBuf {
    home.path().join(format!("{mark}.log"))
}

fn temporary_files(home: &TempDir) -> PathBuf {
    let folder = home.path().join("tmp");
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

fn connection_info(home: &TempDir, transport: Transport, mark: &str) -> ConnectionInfo {
    let (ip, ports) = match transport {
        Transport::IPC => {
            let prefix = home.path().join(&mark[..8]).to_string_lossy().into_owned();
            (prefix, [1, 2, 3, 4, 5])
        }
        Transport::TCP => ("127.0.0.1".to_owned(), free_ports()),
    };
    let [shell_port, iopub_port, stdin_port, control_port, hb_port] = ports;
    ConnectionInfo {
        ip,
        transport,
        shell_port,
        iopub_port,
        stdin_port,
        control_port,
        hb_port,
        key: uuid::Uuid::new_v4().to_string(),
        signature_scheme: "hmac-sha256".to_owned(),
        kernel_name: None,
    }
}

fn free_ports() -> [u16; 5] {
    let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners
        .each_ref()
        .map(|listener| listener.local_addr().expect("its port").port())
}

/// Whether the last of the kernel's sockets is bound.
fn listens(info: &ConnectionInfo) -> bool {
    match info.transport {
        Transport::IPC => UnixStream::connect(format!("{}-{}", info.ip, info.hb_port)).is_ok(),
        Transport::TCP => TcpStream::connect((info.ip.as_str(), info.hb_port)).is_ok(),
    }
}
