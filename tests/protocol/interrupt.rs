//! Interrupts, whatever the cell is doing.

use crate::frontend::{END_LIMIT, Frontend, until_exists};
use crate::processes::eventually;

/// The compiler is busy with this for minutes.
pub const SLOW_TO_COMPILE: &str = "#[allow(long_running_const_eval)]
const SLOW: u64 = { let mut i = 0u64; while i < 1 << 40 { i += 1 } i };
println!(\"{SLOW}\");";

#[tokio::test]
async fn an_interrupt_ends_compiling_and_running_cells() {
    let mut kernel = Frontend::ready().await;
    kernel.run("let kept = 5;").await;

    // While rustc works.
    let request = kernel.send_execute(SLOW_TO_COMPILE).await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    kernel.compiles().await;
    let waiting = kernel.send_execute("1").await;
    kernel.all_has_arrived().await;
    kernel.interrupt().await;
    let failure = kernel.recv_failure_of_running(&request).await;
    assert_eq!(failure.ename, "Interrupted");
    assert!(failure.evalue.contains("nothing was lost"), "{failure:?}");
    assert_eq!(kernel.recv_reply(&waiting).await["status"], "aborted");
    kernel.compilers_are_gone().await;
    assert_eq!(kernel.value_of("kept").await, "5");

    // While it runs, with a process that it started.
    let never = kernel.gate("never");
    let running = format!(
        "std::process::Command::new(\"sleep\").arg(\"1000\").spawn()?; print!(\"running\"); {}",
        until_exists(&never)
    );
    let request = kernel.send_execute(&running).await;
    kernel.recv_busy(&request).await;
    kernel.recv_input(&request).await;
    kernel.recv_stdout(&request, "running").await;
    kernel.interrupt().await;
    let failure = kernel.recv_failure_of_running(&request).await;
    assert_eq!(failure.ename, "Interrupted");
    assert!(
        failure.traceback.contains("kept"),
        "it does not say what was lost: {failure:?}"
    );
    kernel.compilers_are_gone().await;
    kernel.assert_works().await;

    // While nothing runs it does nothing, then or later.
    kernel.interrupt().await;
    kernel.assert_works().await;
    assert_eq!(kernel.replies_left_over(), [""; 0]);
}

#[tokio::test]
async fn an_interrupt_right_after_busy_is_not_lost() {
    let mut kernel = Frontend::ready().await;
    kernel.run("let kept = 5;").await;

    // Between two interrupts the cell comes to different places.
    for _ in 0..10 {
        let request = kernel.send_execute(SLOW_TO_COMPILE).await;
        kernel.recv_busy(&request).await;
        kernel.interrupt().await;
        kernel.recv_input(&request).await;
        let failure = kernel.recv_failure_of_running(&request).await;
        assert_eq!(failure.ename, "Interrupted");
    }
    kernel.compilers_are_gone().await;
    assert_eq!(kernel.value_of("kept").await, "5");
}

impl Frontend {
    /// Waits until rustc works on a cell.
    pub async fn compiles(&self) {
        eventually("rustc runs", END_LIMIT * 6, || {
            let mut processes = self.processes().into_iter();
            processes
                .any(|process| process.name == "rustc")
                .then_some(())
        })
        .await;
    }

    /// Only the kernel and the process that runs the cells are left.
    async fn compilers_are_gone(&self) {
        let mut left = Vec::new();
        let gone = || {
            left = self.processes();
            (left.len() == 2).then_some(())
        };
        let awaited = "only the kernel and the process that runs the cells are left";
        eventually(awaited, END_LIMIT, gone).await;
        assert_eq!(left[0].name, left[1].name);
    }
}
