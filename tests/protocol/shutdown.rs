//! The end of a kernel leaves nothing behind: no process, no temporary folder.

use std::time::Duration;

use jupyter_protocol::connection_info::Transport;
use serde_json::json;

use crate::frontend::{END_LIMIT, Frontend, until_exists};
use crate::interrupt::SLOW_TO_COMPILE;
use crate::processes::{eventually, kill};

#[tokio::test]
async fn shutdown_while_idle() {
    let mut kernel = Frontend::ready().await;
    kernel.assert_works().await;
    kernel.shuts_down(false).await;
}

#[tokio::test]
async fn shutdown_while_starting() {
    let mut kernel = Frontend::start().await;
    kernel.compiles().await;
    kernel.shuts_down(true).await;
}

#[tokio::test]
async fn shutdown_while_compiling() {
    let mut kernel = Frontend::ready().await;
    kernel.send_execute(SLOW_TO_COMPILE).await;
    kernel.compiles().await;
    kernel.shuts_down(false).await;
}

#[tokio::test]
async fn shutdown_while_running() {
    let mut kernel = Frontend::ready().await;
    kernel.runs_a_cell().await;
    kernel.shuts_down(false).await;
}

#[tokio::test]
async fn a_killed_kernel_takes_its_child_along_and_the_next_one_cleans_up() {
    let mut kernel = Frontend::ready().await;
    kernel.runs_a_cell().await;
    kill(kernel.pid);
    kernel.leaves_no_process().await;
    assert_eq!(
        kernel.work_folders().len(),
        1,
        "{:?}",
        kernel.temporary_files()
    );
    kernel.process.wait().await.expect("it is reaped");

    let mut next = Frontend::start_in(kernel.home(), Transport::IPC).await;
    eventually(
        "the killed kernel's folder is removed",
        Duration::from_secs(30),
        || {
            let own = format!("memtrack-kernel-{}-", next.pid);
            next.work_folders()
                .iter()
                .all(|name| name.starts_with(&own))
                .then_some(())
        },
    )
    .await;
    next.shuts_down(false).await;
}

impl Frontend {
    async fn runs_a_cell(&mut self) {
        let never = self.gate("never");
        let code = format!("print!(\"running\"); {}", until_exists(&never));
        let request = self.send_execute(&code).await;
        self.recv_busy(&request).await;
        self.recv_input(&request).await;
        self.recv_stdout(&request, "running").await;
    }

    /// Shuts the kernel down as front ends do it, and looks for what it leaves.
    async fn shuts_down(&mut self, restart: bool) {
        let request = self
            .send_control("shutdown_request", json!({ "restart": restart }))
            .await;
        let reply = self.recv_reply(&request).await;
        assert_eq!(
            (&reply["status"], &reply["restart"]),
            (&json!("ok"), &json!(restart))
        );
        let ended = tokio::time::timeout(END_LIMIT, self.process.wait()).await;
        let status = ended
            .expect("the kernel ends by itself")
            .expect("its status");
        assert!(status.success(), "{status}, log: {}", self.log());
        self.leaves_no_process().await;
        assert_eq!(self.temporary_files(), [""; 0]);
    }

    async fn leaves_no_process(&self) {
        eventually("no process of the kernel is left", END_LIMIT, || {
            self.processes().is_empty().then_some(())
        })
        .await;
    }

    fn work_folders(&self) -> Vec<String> {
        let mut names = self.temporary_files();
        names.retain(|name| name.starts_with("memtrack-kernel-"));
        names
    }
}
