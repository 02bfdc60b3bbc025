//! Cells that wait behind one that fails.

use jupyter_protocol::messaging::ExecuteRequest;

use crate::frontend::{Frontend, cell, until_exists};

#[tokio::test]
async fn queued_cells_are_aborted_after_an_error() {
    let mut kernel = Frontend::ready().await;

    let gate = kernel.gate("gate");
    let code = format!("{} panic!()", until_exists(&gate));
    let fails = kernel.send_execute(&code).await;
    let waiting = [
        kernel.send_execute("1").await,
        kernel.send_execute("2").await,
    ];
    kernel.all_has_arrived().await;
    std::fs::write(&gate, "").unwrap();
    kernel.recv_failure(&fails).await;
    for request in &waiting {
        kernel.recv_busy(request).await;
        kernel.recv_idle(request).await;
        assert_eq!(kernel.recv_reply(request).await["status"], "aborted");
    }
    // They took no number, and what is sent after the error runs.
    let next = kernel.send_execute("3").await;
    kernel.recv_busy(&next).await;
    assert_eq!(kernel.recv_input(&next).await, 2);
    assert_eq!(kernel.recv_result(&next).await["text/plain"], "3");
    kernel.recv_idle(&next).await;
    assert_eq!(kernel.recv_reply(&next).await["status"], "ok");

    // A front end that goes on after errors says so.
    let keep_going = |code: &str| ExecuteRequest {
        stop_on_error: false,
        ..cell(code)
    };
    let fails = kernel.send_cell(keep_going("panic!()")).await;
    let waiting = [
        kernel.send_execute("4").await,
        kernel.send_execute("5").await,
    ];
    kernel.recv_failure(&fails).await;
    for (request, value) in waiting.iter().zip(["4", "5"]) {
        kernel.recv_busy(request).await;
        kernel.recv_input(request).await;
        assert_eq!(kernel.recv_result(request).await["text/plain"], value);
        kernel.recv_idle(request).await;
        assert_eq!(kernel.recv_reply(request).await["status"], "ok");
    }
    assert_eq!(kernel.replies_left_over(), [""; 0]);
}
